import numpy as np
import pytest

from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Identity, Linear, Provenance
from embridge.errors import InvalidInput
from embridge.rollout import by_class_distance, by_cluster_distance, by_frequency, by_uncertainty, in_random_order

SPACE = Space("old", "1", 6)


@pytest.fixture
def gallery():
    """Three tight groups of 40, and in each five items half way to the next group."""
    generator = np.random.default_rng(0)
    centres = np.eye(6)[:3]
    rows = np.repeat(centres, 40, axis=0) + 0.05 * generator.normal(size=(120, 6))
    odd = np.arange(120) % 40 < 5
    rows[odd] += 0.9 * np.roll(centres, 1, axis=0)[np.flatnonzero(odd) // 40]
    return Embeddings.of(rows.astype(np.float32), SPACE, [f"{'odd' if o else 'plain'} {i}" for i, o in enumerate(odd)])


def labels(gallery):
    return [str(i // 40) for i in range(len(gallery))]


def test_every_order_names_every_item_once(gallery):
    uncertain = Linear(SPACE, Space("log error", "", 1, "dot"), np.ones((6, 1), np.float32))
    upgrade = Upgrade(
        Identity(Space("new", "", 6), Space("new", "", 6)), Linear(SPACE, Space("new", "", 6), np.eye(6, dtype=np.float32)),
        Provenance("x"), "forward", uncertain,
    )  # fmt: skip
    orders = [
        in_random_order(gallery),
        by_uncertainty(gallery, upgrade),
        by_class_distance(gallery, labels(gallery)),
        by_cluster_distance(gallery, clusters=3),
        by_frequency(gallery, {gallery.ids[3]: 2}),
    ]
    for order in orders:
        assert sorted(order) == sorted(gallery.ids)
    expected = sorted(range(120), key=lambda i: -gallery.vectors[i].sum())
    assert orders[1] == tuple(gallery.ids[i] for i in expected)


def test_the_seed_settles_a_random_order(gallery):
    assert in_random_order(gallery, seed=1) == in_random_order(gallery, seed=1) != in_random_order(gallery, seed=2)


def test_what_is_far_from_its_class_or_cluster_comes_first(gallery):
    assert all(name.startswith("odd") for name in by_class_distance(gallery, labels(gallery))[:15])
    first = by_cluster_distance(gallery, clusters=3, seed=1)[:15]
    assert sum(name.startswith("odd") for name in first) >= 12


def test_class_distance_is_its_naive_loop(gallery):
    unit = gallery.vectors / np.linalg.norm(gallery.vectors, axis=1, keepdims=True)
    distances = []
    for i, label in enumerate(labels(gallery)):
        own = unit[[j for j, other in enumerate(labels(gallery)) if other == label]]
        mean = own.mean(axis=0)
        distances.append(1 - unit[i] @ mean / np.linalg.norm(mean))
    assert by_class_distance(gallery, labels(gallery))[:20] == tuple(
        gallery.ids[i] for i in np.argsort(distances)[::-1][:20]
    )


def test_one_cluster_is_one_class(gallery):
    assert by_cluster_distance(gallery, clusters=1) == by_class_distance(gallery, ["all"] * 120)


def test_what_cannot_be_ordered_says_why(gallery):
    new = Space("new", "", 6)
    plain = Upgrade(Identity(new, new), Linear(new, SPACE, np.eye(6, dtype=np.float32)), Provenance("procrustes"))
    with pytest.raises(
        InvalidInput, match=r"\(procrustes\) does not say how uncertain it is; fit one with the method fastfill"
    ):
        by_uncertainty(gallery, plain)
    with pytest.raises(InvalidInput, match="120 items came with 2 labels"):
        by_class_distance(gallery, ["a", "b"])
    for clusters in (0, 121):
        with pytest.raises(InvalidInput, match="expected 1 to 120 clusters"):
            by_cluster_distance(gallery, clusters=clusters)
    with pytest.raises(InvalidInput, match="none of the 1 counted ids is in the gallery, first 'elsewhere'"):
        by_frequency(gallery, {"elsewhere": 3})
