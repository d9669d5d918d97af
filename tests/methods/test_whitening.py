from itertools import product

import numpy as np
import pytest
from paired_vectors import pairs_of, unit

from embridge.evaluation.agreement import NeighbourAgreement
from embridge.methods import whitening
from embridge.methods.least_squares import path_of
from embridge.methods.moments import Moments
from embridge.methods.whitened_procrustes import WhitenedProcrustes, whitened
from embridge.methods.whitening import KEPT_MEANS, WHITENINGS, choose_strength

QUERIES = np.arange(60)


def narrow(rows=600, d_new=14, d_old=12, seed=0):
    """Vectors with much in common, in directions that differ in spread; the old ones are noisy."""
    generator = np.random.default_rng(seed)
    content = generator.normal(size=(rows, d_new)) * np.geomspace(0.2, 1, d_new)
    turned, _ = np.linalg.qr(generator.normal(size=(d_new, d_new)))
    old = content @ turned[:, :d_old] + 0.1 * generator.normal(size=(rows, d_old))
    return pairs_of(unit(content + 0.5), unit(old + 0.7))


def chosen(pairs, **options):
    path, train = path_of(pairs, center=True), Moments.of(pairs) - Moments.of(pairs, QUERIES)
    return choose_strength(path, train, pairs.unit_rows(slice(None)), len(QUERIES), **options)


def agreement(pairs, strength, kept_mean):
    """Of the map of that strength that the other pairs give."""
    path = path_of(pairs.take(np.arange(len(QUERIES), len(pairs))), center=True)
    mapped = whitened(path, (pairs.new.space, pairs.old.space), strength, kept_mean).apply(pairs.new.vectors[QUERIES])
    nearest = NeighbourAgreement.of(pairs.new.vectors[QUERIES], pairs.new.vectors, own=QUERIES)
    return nearest.values(mapped, pairs.old.vectors).mean()


def test_each_strength_is_valued_as_its_map():
    pairs = narrow()
    for strength, kept_mean in product((0.0, 0.2, 0.4), (1.0, 0.0)):
        found = chosen(pairs, whitenings=(strength,), kept_means=(kept_mean,)).agreement
        assert found == pytest.approx(agreement(pairs, strength, kept_mean), abs=0.02)


def test_the_best_is_chosen_and_fitted():
    pairs = narrow()
    best = chosen(pairs)
    values = {s: chosen(pairs, whitenings=(s,), kept_means=(best.kept_mean,)).agreement for s in WHITENINGS}
    assert best.agreement == pytest.approx(max(values.values()), abs=0.02)
    assert best.agreement > chosen(pairs, kept_means=(0.0,)).agreement + 0.1
    figures = WhitenedProcrustes().fit(pairs).provenance.figures
    assert figures["whitening"] in WHITENINGS
    assert figures["kept_mean"] in KEPT_MEANS
    assert figures["validation_agreement"] == pytest.approx(best.agreement, abs=0.1)  # of other queries


def test_a_setting_that_is_given_is_kept():
    figures = WhitenedProcrustes(whitening=0.35).fit(narrow()).provenance.figures
    assert (figures["whitening"], figures["kept_mean"] in KEPT_MEANS) == (0.35, True)
    assert WhitenedProcrustes(0.1, 0.7).fit(narrow()).provenance.figures == {"whitening": 0.1, "kept_mean": 0.7}


def test_of_few_pairs_the_usual_strength_is_taken():
    figures = WhitenedProcrustes(kept_mean=1.0).fit(narrow(rows=60)).provenance.figures
    assert figures == {"whitening": 0.2, "kept_mean": 1.0}


def test_leading_directions_decide_as_the_whole(monkeypatch):
    pairs = narrow()
    whole = chosen(pairs, kept_means=(1.0,))
    monkeypatch.setattr(whitening, "WHOLE", 4)
    monkeypatch.setattr(whitening, "LEADING", 11)
    leading = chosen(pairs, kept_means=(1.0,))
    assert abs(leading.whitening - whole.whitening) <= 0.1 + 1e-9
    assert leading.agreement == pytest.approx(whole.agreement, abs=0.05)
