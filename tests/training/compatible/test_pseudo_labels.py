import numpy as np
import pytest
from labelled_glyphs import items, old_encoder

from embridge.adapters.base import normalized
from embridge.errors import InvalidInput
from embridge.training.compatible.labelled import LabelledVectors, hold_out
from embridge.training.compatible.old_models import old_model, old_vectors
from embridge.training.compatible.pseudo_labels import Relabelled, cluster_names, pseudo_labels


def planted(count=6, each=40, dim=8, noise=0.1, seed=0):
    """Rows around so many directions, far from each other, and which direction each is of."""
    generator = np.random.default_rng(seed)
    directions = np.linalg.qr(generator.normal(size=(dim, dim)))[0][:count]
    labels = np.repeat(np.arange(count), each)
    return (directions[labels] + noise * generator.normal(size=(len(labels), dim))).astype(np.float32), labels


def same_grouping(a, b):
    return len(set(zip(a.tolist(), b.tolist(), strict=True))) == len(set(a.tolist())) == len(set(b.tolist()))


@pytest.mark.parametrize("rows_per_cluster", [256, 12])
def test_groups_that_are_there_are_found(rows_per_cluster):
    """On all rows, and on a sample of them, with the rest put into the nearest cluster."""
    rows, labels = planted()
    found = pseudo_labels(rows, 6, rows_per_cluster=rows_per_cluster)
    assert same_grouping(found, labels)
    scaled = rows * np.random.default_rng(1).uniform(0.1, 10, (len(rows), 1)).astype(np.float32)
    assert same_grouping(pseudo_labels(scaled, 6), labels)


def test_the_seed_decides_the_clusters():
    rows = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    drawn = [pseudo_labels(rows, 20, seed=seed, rows_per_cluster=10) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not same_grouping(drawn[0], drawn[2])


def test_each_row_is_in_the_nearest_cluster_of_what_was_found():
    rows, _ = planted(noise=0.4)
    found = pseudo_labels(rows, 10)
    means = normalized(np.stack([normalized(rows)[found == cluster].mean(0) for cluster in range(10)]))
    assert (
        np.mean((normalized(rows) @ means.T).argmax(1) == found) > 0.95
    )  # all of them, had it run until nothing moved


@pytest.mark.slow
@pytest.mark.parametrize("rows_per_cluster", [256, 1, 3])
@pytest.mark.parametrize("clusters", [2, 17, 59, 60])
def test_no_cluster_is_empty(clusters, rows_per_cluster):
    """Most rows in one tight group, so that clusters lose their rows; as many clusters as directions too."""
    generator = np.random.default_rng(0)
    tight = np.ones((40, 5)) + 5e-2 * generator.normal(size=(40, 5))
    rows = np.concatenate([tight, generator.normal(size=(20, 5))]).astype(np.float32)
    found = pseudo_labels(rows, clusters, rows_per_cluster=rows_per_cluster)
    assert np.bincount(found, minlength=clusters).min() > 0
    assert found.max() == clusters - 1


def test_rows_of_one_direction_are_in_one_cluster():
    rows = np.repeat(np.eye(4, dtype=np.float32), 5, axis=0) * np.arange(1, 21, dtype=np.float32)[:, None]
    assert same_grouping(pseudo_labels(rows, 4), np.repeat(np.arange(4), 5))
    with pytest.raises(InvalidInput, match="5 clusters were asked for, and there are only 4 different directions"):
        pseudo_labels(rows, 5)


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    ("rows", "clusters", "message"),
    [
        (np.eye(3, dtype=np.float32), 4, "expected 2 to 3 clusters for 3 rows.* came 4 clusters"),
        (np.eye(3, dtype=np.float32), 1, "expected 2 to 3 clusters"),
        (np.eye(3), 2, "pseudo-labels: expected float32, came float64"),
        (np.full((3, 2), np.nan, np.float32), 2, "hold NaN or infinity"),
        (np.array([[1, 0], [0, 0], [0, 1]], np.float32), 2, "row 1 is all zeros"),
    ],
)
def test_what_gives_no_clusters_is_refused(rows, clusters, message):
    with pytest.raises(InvalidInput, match=message):
        pseudo_labels(rows, clusters)


@pytest.mark.slow
def test_relabelled_items_are_the_same_items():
    images = items("train")
    vectors = old_vectors(images, old_encoder())
    labels = pseudo_labels(vectors, 12)
    made = Relabelled(images, labels, cluster_names(12))
    assert (len(made), made.side, made.classes[11]) == (len(images), images.side, "cluster 11")
    rows = np.array([7, 3])
    np.testing.assert_array_equal(made.batch(rows).numpy(), images.batch(rows).numpy())
    np.testing.assert_array_equal(made.items(rows), images.items(rows))
    assert made.fingerprint() != images.fingerprint()
    assert made.fingerprint() != Relabelled(images, labels[::-1].copy(), cluster_names(12)).fingerprint()
    assert made.fingerprint() == Relabelled(images, labels.copy(), cluster_names(12)).fingerprint()
    train, held = hold_out(made, 0.2)
    assert sorted([*train.rows, *held.rows]) == list(range(len(images)))
    prototypes = old_model(made, vectors).prototypes.numpy()
    np.testing.assert_allclose(prototypes[5], vectors[labels == 5].mean(0), atol=1e-6)


def test_labels_that_do_not_fit_are_refused():
    unlabelled = LabelledVectors(np.eye(3, dtype=np.float32), np.zeros(3, np.int64))
    with pytest.raises(InvalidInput, match="for each of 3 items"):
        Relabelled(unlabelled, np.array([0, 1]))
    with pytest.raises(InvalidInput, match="a name of its own for each of 0 … 2"):
        Relabelled(unlabelled, np.array([0, 1, 2]), ("a", "b"))
