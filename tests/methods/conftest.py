import numpy as np
import pytest

from embridge import Embeddings, Space
from embridge.methods import Pairs

NEW, OLD = Space("new", "1", 24), Space("old", "1", 16)


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def make_pairs():
    """Pairs whose old side is a partial rotation of the new one, plus noise."""

    def make(rows=300, noise=0.1, seed=0):
        generator = np.random.default_rng(seed)
        basis, _ = np.linalg.qr(generator.normal(size=(NEW.dim, NEW.dim)))
        new = unit(generator.normal(size=(rows, NEW.dim)))
        old = unit(new @ basis[:, : OLD.dim] + noise * generator.normal(size=(rows, OLD.dim)) / OLD.dim**0.5)
        return Pairs(Embeddings.of(new, NEW), Embeddings.of(old, OLD))

    return make
