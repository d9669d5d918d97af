"""The neighbour map learns what a rotation cannot, and gives up where it learns nothing."""

import dataclasses

import numpy as np
import pytest

from embridge import Embeddings
from embridge.adapters import Linear
from embridge.errors import SettingsError
from embridge.evaluation import neighbour_agreement_at_k
from embridge.methods import Pairs, Training, make
from embridge.methods._averaged import fit_averaged
from embridge.methods.neighbour_map import NeighbourMap
from embridge.testing import check_method

SHORT = dataclasses.replace(NeighbourMap().training, min_steps=60, batch_size=512, validation_fraction=0.2)


@pytest.mark.slow
def test_contract(make_pairs):
    short = dataclasses.replace(SHORT, min_steps=5)
    assert check_method(NeighbourMap(training=short, precision="float32"), make_pairs()) == []


@pytest.fixture
def stretched(make_pairs):
    """Old vectors that stretch some directions: whoever is to find the same by them has to shrink these, not to follow them."""
    new, old = (side.space for side in (make_pairs(rows=10).new, make_pairs(rows=10).old))
    generator = np.random.default_rng(0)
    items = generator.normal(size=(900, 5))
    turned = (np.linalg.qr(generator.normal(size=(dim, dim)))[0][:5] for dim in (new.dim, old.dim))
    seen = items @ next(turned), items * np.geomspace(0.3, 1, 5) @ next(turned)
    seen = seen[0], seen[1] + 0.01 * generator.normal(size=seen[1].shape)
    return Pairs(*(Embeddings.of(rows.astype(np.float32), space) for rows, space in zip(seen, (new, old), strict=True)))


@pytest.mark.slow
def test_its_vectors_find_more_of_what_the_new_model_finds(stretched):
    train, held_out = stretched.hold_out(0.2, seed=3)
    own = np.arange(len(held_out))
    new, old = (np.concatenate([getattr(part, side).vectors for part in (held_out, train)]) for side in ("new", "old"))
    found = {}
    for method in (make("whitened-procrustes"), NeighbourMap(training=SHORT, precision="float32")):
        upgrade = method.fit(train)
        mapped = upgrade.to_index_space(held_out.new).vectors
        found[upgrade.provenance.method] = neighbour_agreement_at_k(
            (mapped, old), (held_out.new.vectors, new), own=own
        ).mean()
    assert found["neighbour-map"] > found["whitened-procrustes"] + 0.02


@pytest.mark.slow
def test_the_bridge_is_one_matrix_part_of_the_way(stretched):
    figures, weights = {}, {}
    for share in (0.25, 1.0):
        method = NeighbourMap(training=SHORT, precision="float32", kept_share=share)
        upgrade = method.fit(stretched)
        assert isinstance(upgrade.bridge, Linear)
        figures[share], weights[share] = upgrade.provenance.figures, upgrade.bridge.weight
    assert figures[0.25]["kept_share"] == 0.25
    assert figures[0.25]["best_step"] > 0
    assert not np.allclose(weights[0.25], weights[1.0])


@pytest.mark.slow
def test_where_nothing_is_learnt_the_mean_of_the_closed_forms_of_all_pairs_stays(make_pairs):
    pairs = make_pairs(rows=300)
    idle = Training(epochs=1, min_steps=2, batch_size=64, learning_rate=1e-12, weight_decay=0.0)
    upgrade = NeighbourMap(training=idle, precision="float32").fit(pairs)
    np.testing.assert_array_equal(upgrade.bridge.weight, fit_averaged(pairs)[0].weight)
    assert (upgrade.provenance.figures["best_step"], upgrade.provenance.figures["kept_share"]) == (0, 0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature is above 0"),
        ({"kept_share": 0.0}, "kept_share in"),
        ({"precision": "half"}, "half"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        NeighbourMap(**settings)
