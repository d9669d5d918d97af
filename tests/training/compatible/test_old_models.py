import numpy as np
import pytest
import torch
from labelled_glyphs import KNOWN, SCRIPTS, items, old, old_encoder

from embridge.adapters.base import normalized
from embridge.errors import InvalidInput
from embridge.training.compatible.labelled import LabelledVectors
from embridge.training.compatible.old_models import old_model, old_vectors

ROWS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
DATA = LabelledVectors(ROWS, np.array([0, 0, 1, 1, 1, 2]), ["a", "b", "c"])


def test_prototypes_are_means_of_unit_vectors():
    made = old_model(DATA, 3 * ROWS, known=["a", "c"])
    unit = normalized(ROWS)
    expected = np.stack([unit[:2].mean(0), unit[2:5].mean(0), unit[5]])
    np.testing.assert_allclose(made.prototypes, expected, atol=1e-6)
    np.testing.assert_allclose(made.embeddings, unit, atol=1e-6)
    assert made.known.tolist() == [True, False, True]
    assert made.classifier is None
    lengths = old_model(DATA, ROWS, renormalise=True).prototypes.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(3))
    assert old_model(DATA, ROWS).known.all()


@pytest.mark.slow
def test_an_encoder_is_asked_for_each_item_once_and_not_augmented():
    calls = []
    rows = old_vectors(items("train"), old_encoder(), progress=lambda done, *_: calls.append(done))
    expected = old_encoder().encode(items("train").images, modality="image")
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    assert calls[-1] == 500
    assert old().known.tolist() == [script in KNOWN for script in SCRIPTS]
    torch.testing.assert_close(old().embeddings, torch.from_numpy(rows))


def test_a_classifier_is_kept():
    weights = np.arange(9.0).reshape(3, 3)
    made = old_model(DATA, ROWS, classifier=weights)
    assert made.classifier.tolist() == weights.tolist()


@pytest.mark.parametrize(
    ("vectors", "known", "message"),
    [
        (ROWS[:5], None, "a finite vector for each of the 6 training items, came .5, 3."),
        (np.full((6, 3), np.inf, np.float32), None, "a finite vector for each"),
        (ROWS, ["a", "z"], "'z' is no class of the training items"),
    ],
)
def test_what_does_not_fit_is_refused(vectors, known, message):
    with pytest.raises(InvalidInput, match=message):
        old_model(DATA, vectors, known=known)
