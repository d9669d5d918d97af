from dataclasses import replace

import numpy as np
import pytest
import torch

from embridge import Embeddings, Space
from embridge.adapters.base import normalized
from embridge.errors import InvalidInput
from embridge.methods import Pairs, Training
from embridge.methods.judges import HeldOutImages
from embridge.methods.pair_rows import reversed_pairs
from embridge.methods.procrustes import fit_rotation
from embridge.methods.real_pairs import RealPairs
from embridge.methods.xbt import XBT

NEW, OLD = Space("new", "1", 6), Space("old", "1", 4)


def rows(count, space, seed):
    return Embeddings.of(np.random.default_rng(seed).normal(size=(count, space.dim)).astype(np.float32), space)


def random_pairs(count=9, groups=None, old_images=True):
    return RealPairs(
        rows(count, NEW, 0),
        rows(count, NEW, 1),
        rows(count, OLD, 2),
        rows(count, OLD, 3) if old_images else None,
        groups,
    )


def cut(x):
    return np.ascontiguousarray(x[:, : OLD.dim])


# Reciprocal ranks


@pytest.mark.parametrize("old_images", [True, False])
@pytest.mark.parametrize("groups", [None, np.array([5, 5, 1, 0, 0, 0, 9, 9, 2])])
def test_reciprocal_ranks_are_those_of_a_loop(groups, old_images):
    real = random_pairs(groups=groups, old_images=old_images)
    others = normalized(rows(20, OLD, 4).vectors)
    numbers = list(range(9)) if groups is None else groups.tolist()
    searches = [(real.new_images, real.old_texts, list(others))]
    if old_images:
        searches.append((real.new_texts, real.old_images, []))
    found = {}
    for queries, gallery, more in searches:
        for i, query in enumerate(normalized(cut(normalized(queries.vectors)))):
            scores = [float(query @ row) for row in normalized(gallery.vectors)]
            wrong = [s for j, s in enumerate(scores) if numbers[j] != numbers[i]] + [float(query @ row) for row in more]
            found.setdefault(numbers[i], []).append(1 / (1 + sum(s > scores[i] for s in wrong)))
    expected = [np.mean(found[number]) for number in sorted(found)]
    np.testing.assert_allclose(real.reciprocal_ranks(cut, others), expected, rtol=1e-9)
    assert len(real) == len(expected)


def test_a_perfect_bridge_scores_one_and_a_blind_one_near_chance():
    new = rows(300, NEW, 0)
    old = Embeddings.of(normalized(cut(new.vectors)), OLD)
    real = RealPairs(new, new, old, old)
    assert (real.reciprocal_ranks(cut) == 1).all()
    blind = real.reciprocal_ranks(lambda x: np.random.default_rng(9).normal(size=(len(x), 4)).astype(np.float32))
    assert blind.mean() == pytest.approx((np.log(300) + 0.58) / 300, abs=0.02)


def test_the_score_in_torch_is_that_of_the_pairs():
    real, others = random_pairs(), torch.from_numpy(normalized(rows(20, OLD, 4).vectors))
    values = HeldOutImages(real, others).values(lambda z: torch.nn.functional.normalize(z[:, :4], dim=1))
    np.testing.assert_array_equal(values.numpy(), real.reciprocal_ranks(cut, others.numpy()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"old_texts": rows(8, OLD, 0)}, r"one row a pair on every side, came \[9, 9, 8, 9\]"),
        ({"groups": np.arange(3)}, r"one row a pair on every side, came \[9, 9, 9, 9, 3\]"),
        ({"new_texts": rows(9, Space("new", "2", 6), 0)}, "images and texts of one model, came new@1 .* and new@2"),
        (
            {"old_images": rows(9, Space("older", "1", 4), 0)},
            "images and texts of one model, came old@1 .* and older@1",
        ),
        ({"groups": np.zeros(9, np.int64)}, "image-text pairs: 1 to judge by; at least two"),
    ],
)
def test_sides_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InvalidInput, match=message):
        replace(random_pairs(), **change)


# As a part of pairs


def test_pairs_carry_them_and_their_fingerprint_says_so():
    pairs = Pairs(rows(20, NEW, 7), rows(20, OLD, 8))
    judged = replace(pairs, judged_by=random_pairs())
    other = replace(pairs, judged_by=random_pairs(groups=np.arange(9) // 2))
    assert len({one.fingerprint for one in (pairs, judged, other)}) == 3
    assert judged.take(np.arange(3)).judged_by is judged.judged_by
    assert all(part.judged_by is judged.judged_by for part in judged.hold_out(0.2, seed=0))
    assert reversed_pairs(judged).judged_by is None


def test_pairs_of_other_spaces_are_refused():
    pairs = Pairs(rows(20, Space("newer", "1", 6), 7), rows(20, OLD, 8))
    with pytest.raises(InvalidInput, match=r"these are of newer@1 .* the image-text pairs that judge them of new@1 "):
        replace(pairs, judged_by=random_pairs())


# XBT is judged by them

SHORT = Training(min_steps=150, batch_size=128, patience=20)
QUICK = {
    "hidden_width": 64,
    "precision": "float32",
    "training": SHORT,
    "closed_form": "procrustes",
    "neighbour_weight": 2.0,
    "neighbour_temperature": 0.05,
}

ROTATED = {"hidden_width": 0, "closed_form": "procrustes"}


def bent(count=600):
    """Captions whose old vectors a rotation does not reach, and the map that does."""
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.normal(size=(24, 24)))[0][:, :16].astype(np.float32)

    def old_of(x):
        return normalized(np.tanh(6 * (x @ basis) * np.geomspace(0.2, 3.0, 16, dtype=np.float32)))

    new = normalized(generator.normal(size=(count, 24)).astype(np.float32))
    return Pairs(Embeddings.of(new, Space("new", "1", 24)), Embeddings.of(old_of(new), Space("old", "1", 16))), old_of


def images_for(pairs, right, count=800):
    """Pairs whose right answers are what ``right`` makes of the vectors that they are asked by, a little off."""
    meant = normalized(np.random.default_rng(1).normal(size=(count, 24)).astype(np.float32))
    answers = Embeddings.of(normalized(right(meant)), pairs.old.space)
    off = 0.15 * np.random.default_rng(2).normal(size=meant.shape).astype(np.float32)
    queries = Embeddings.of(normalized(meant + off), pairs.new.space)
    return RealPairs(queries, queries, answers, answers)


@pytest.mark.slow
def test_where_text_and_real_pairs_disagree_the_real_pairs_decide():
    pairs, old_of = bent()
    by_text = XBT(**QUICK).fit(pairs)
    assert by_text.provenance.figures["best_step"] > 0
    assert by_text.provenance.figures["judged_by"] == "held-out captions"
    rotation = fit_rotation(pairs, center=bool(by_text.provenance.figures["centered"]))
    like_rotation = XBT(**QUICK).fit(replace(pairs, judged_by=images_for(pairs, rotation.apply)))
    assert like_rotation.provenance.figures["judged_by"] == "800 image-text pairs, i2t and t2i"
    assert like_rotation.provenance.figures["best_step"] == 0
    assert like_rotation.bridge.kind == "linear"
    like_text = XBT(**QUICK).fit(replace(pairs, judged_by=images_for(pairs, old_of)))
    assert like_text.provenance.figures["best_step"] > 0
    assert like_text.bridge.kind == by_text.bridge.kind == "mlp"


def test_real_pairs_say_whether_to_centre():
    """Captions lie off the origin in both spaces, and images do not."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(400, 6)).astype(np.float32)
    turned = x @ np.linalg.qr(generator.normal(size=(6, 6)))[0].astype(np.float32)
    off = generator.normal(size=(2, 6)).astype(np.float32)
    new, old = Space("new", "1", 6), Space("old", "1", 6)
    images = Embeddings.of(x, new)
    pairs = Pairs(Embeddings.of(normalized(x + off[0]), new), Embeddings.of(normalized(turned + off[1]), old))
    judged = replace(pairs, judged_by=RealPairs(images, images, Embeddings.of(turned, old)))
    by_text, by_images = (XBT(**ROTATED).fit(p).provenance.figures for p in (pairs, judged))
    assert by_text["centered"]
    assert not by_images["centered"]
    assert by_images["validation_mrr_plain"] > 1.2 * by_images["validation_mrr_centered"]
    assert XBT(**ROTATED, center=True).fit(judged).provenance.figures["centered"]


@pytest.mark.slow
def test_only_the_selection_changes():
    """Judged by the same step, the weights are the same bytes: real pairs are not trained on."""
    pairs, old_of = bent()
    one_step = QUICK | {"skip": False, "training": replace(SHORT, min_steps=30, epochs=1, patience=1_000)}
    scored = [XBT(**one_step).fit(p) for p in (pairs, replace(pairs, judged_by=images_for(pairs, old_of, count=300)))]
    assert [u.provenance.figures["best_step"] for u in scored] == [30, 30]
    for name, weight in scored[0].bridge.weights().items():
        assert scored[1].bridge.weights()[name].tobytes() == weight.tobytes()


@pytest.mark.slow
def test_too_few_pairs_are_warned_of():
    pairs, old_of = bent()
    few = replace(pairs, judged_by=images_for(pairs, old_of, count=3))
    with pytest.warns(UserWarning, match="xbt: 3 image-text pairs to judge by; at least 100 are advised"):
        XBT(**QUICK).fit(few)
