import numpy as np
import pytest
import torch

from embridge.errors import InvalidInput, SettingsError
from embridge.training.objectives.prototypes import ClassMeans, class_means, nearest, resolve_unseen


def rows(n, d, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32))


def naive_means(embeddings, labels, classes):
    """Class by class and row by row, in Python floats."""
    means, counts = [], []
    for c in range(classes):
        total, count = [0.0] * embeddings.shape[1], 0
        for x, label in zip(embeddings.tolist(), labels.tolist(), strict=True):
            if label == c:
                length = sum(v * v for v in x) ** 0.5
                total = [t + v / length for t, v in zip(total, x, strict=True)]
                count += 1
        means.append([t / max(count, 1) for t in total])
        counts.append(count)
    return means, counts


EMBEDDINGS, LABELS = rows(50, 4), torch.from_numpy(np.random.default_rng(1).integers(0, 6, 50))


@pytest.mark.parametrize("size", [1, 7, 50])
def test_means_are_their_naive_loop_in_chunks_of_any_size(size):
    found = class_means(zip(EMBEDDINGS.split(size), LABELS.split(size), strict=True), classes=8)
    means, counts = naive_means(EMBEDDINGS, LABELS, 8)
    assert found.means.dtype == torch.float32
    np.testing.assert_allclose(found.means, means, atol=1e-7)
    assert found.counts.tolist() == counts
    assert found.present.tolist() == [c > 0 for c in counts]
    assert counts[6:] == [0, 0]


def test_chunks_are_read_one_at_a_time():
    alive = []

    def chunks():
        for part in zip(EMBEDDINGS.split(5), LABELS.split(5), strict=True):
            alive.append(part)
            yield part

    read = chunks()
    first = next(read)
    assert len(alive) == 1
    class_means([first], classes=6)
    assert class_means(read, classes=6).counts.sum() == 45


def test_the_length_of_a_row_does_not_matter_and_that_of_a_mean_says_how_a_class_agrees():
    lengths = torch.rand(50, 1) + 0.1
    one, other = (class_means([(x, LABELS)], classes=6).means for x in (EMBEDDINGS, EMBEDDINGS * lengths))
    torch.testing.assert_close(one, other)
    assert one.norm(dim=1).max() < 1
    scaled = class_means([(EMBEDDINGS, LABELS)], classes=7, renormalise=True).means
    torch.testing.assert_close(scaled.norm(dim=1), torch.tensor([1.0] * 6 + [0.0]))


def test_half_precision_chunks_are_summed_in_double():
    x = rows(1, 3).half().repeat(5_000, 1)
    mean = class_means(((part, torch.zeros(len(part), dtype=torch.long)) for part in x.split(100)), classes=1).means[0]
    single = torch.nn.functional.normalize(x[0].double(), dim=0)
    np.testing.assert_allclose(mean, single, atol=1e-7)


def test_gradients_do_not_pass():
    x = EMBEDDINGS.clone().requires_grad_()
    assert not class_means([(x, LABELS)], classes=6).means.requires_grad


def test_a_row_of_zeros_counts_and_adds_nothing():
    found = class_means([(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 0]))], classes=1)
    assert found.means.tolist() == [[0.5, 0.0]]


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([], "expected at least one chunk of embeddings and labels, came none"),
        ([(rows(2, 3), torch.tensor([0, 3]))], r"expected labels in 0 … 2, came 0 … 3"),
        ([(rows(2, 3), torch.tensor([-1, 0]))], r"expected labels in 0 … 2, came -1 … 0"),
        ([(rows(2, 3), torch.tensor([0.0, 1.0]))], "labels are integers, came torch.float32"),
        (
            [(rows(2, 3), torch.tensor([0]))],
            r"expected embeddings \[n, 3\] with labels \[n\], came \[2, 3\] with \[1\]",
        ),
        (
            [(rows(1, 3), torch.tensor([0])), (rows(1, 4), torch.tensor([0]))],
            r"\[n, 3\] with labels \[n\], came \[1, 4\]",
        ),
        ([(torch.full((1, 3), float("nan")), torch.tensor([0]))], "the embeddings hold NaN or infinity"),
    ],
)
def test_what_cannot_be_averaged_is_refused(chunks, message):
    with pytest.raises(InvalidInput, match=message):
        class_means(chunks, classes=3)


def test_an_empty_chunk_is_no_harm():
    found = class_means([(EMBEDDINGS[:0], LABELS[:0]), (EMBEDDINGS, LABELS)], classes=6)
    assert torch.equal(found.counts, class_means([(EMBEDDINGS, LABELS)], classes=6).counts)


KNOWN = torch.tensor([True, True, False, False])
OLD = rows(4, 3)
NEW = ClassMeans(rows(4, 3, 5), torch.tensor([4, 4, 4, 0]))


def test_policies_for_classes_that_the_old_model_does_not_know():
    prototypes, usable = resolve_unseen(OLD, KNOWN, "using_old")
    assert torch.equal(prototypes, OLD)
    assert usable.tolist() == [True] * 4
    prototypes, usable = resolve_unseen(OLD, KNOWN, "null", NEW)
    assert torch.equal(prototypes, OLD)
    assert usable.tolist() == [True, True, False, False]
    assert resolve_unseen(OLD, KNOWN, "using_new")[1].tolist() == [True, True, False, False]
    prototypes, usable = resolve_unseen(OLD, KNOWN, "using_new", NEW)
    assert torch.equal(prototypes[:2], OLD[:2])
    assert torch.equal(prototypes[2], NEW.means[2])
    assert usable.tolist() == [True, True, True, False]


def test_a_class_without_rows_is_not_used():
    old = OLD.clone()
    old[1] = 0
    assert resolve_unseen(old, KNOWN, "using_old")[1].tolist() == [True, False, True, True]
    assert resolve_unseen(old, KNOWN, "null")[1].tolist() == [True, False, False, False]


@pytest.mark.usefixtures("as_in_production")
def test_another_policy_is_refused():
    with pytest.raises(SettingsError, match="using_old, null or using_new, came 'both'"):
        resolve_unseen(OLD, KNOWN, "both")


@pytest.mark.parametrize("k", [1, 3, 20])
@pytest.mark.parametrize("own", [True, False])
def test_neighbours_are_those_of_a_naive_loop(k, own):
    queries, gallery = rows(8, 4, 2), rows(8, 4, 3)
    allowed = torch.tensor([True, True, False, True, True, True, False, True])
    scores, found = nearest(queries, gallery, k, allowed=allowed, own=torch.arange(8) if own else None)
    assert scores.shape == found.shape == (8, min(k, 8))
    for i in range(8):
        expected = sorted(
            (-float(queries[i] @ gallery[j]), j) for j in range(8) if allowed[j] and not (own and j == i)
        )[:k]
        assert found[i, : len(expected)].tolist() == [j for _, j in expected]
        np.testing.assert_allclose(scores[i, : len(expected)], [-s for s, _ in expected], atol=1e-6)
        assert scores[i, len(expected) :].tolist() == [0.0] * (scores.shape[1] - len(expected))
