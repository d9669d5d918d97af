"""The glyph models, what they draw, and bridges between them."""

import pytest

from embridge import Embeddings
from embridge.datasets import glyph_models, glyphs
from embridge.encoders import load
from embridge.methods import Pairs
from embridge.methods.procrustes import Procrustes

OLD, NEW = (glyph_models.folder(side) for side in ("old", "new"))


@pytest.fixture(scope="session")
def encoders():
    return {"old": load(f"clip:{OLD}", device="cpu"), "new": load(f"clip:{NEW}", device="cpu")}


@pytest.fixture(scope="session")
def pairs(encoders):
    """Vectors of the same captions by both models."""
    captions = [glyphs.caption(c) for c in glyphs.split()["train"][::5]]
    sides = {
        side: Embeddings.of(encoder.encode(captions, modality="text"), encoder.space)
        for side, encoder in encoders.items()
    }
    return Pairs(sides["new"], sides["old"])


@pytest.fixture(scope="session")
def upgrade(pairs):
    return Procrustes(center=False).fit(pairs)


@pytest.fixture(scope="session")
def centered(pairs):
    return Procrustes(center=True).fit(pairs)


@pytest.fixture(scope="session")
def held_out():
    """Pictures and captions that no model was trained on."""
    return glyphs.render(glyphs.split()["test"][::5], one_each=True)
