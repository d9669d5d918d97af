"""A made-up world: photos with two captions each; the new model is the better one, the bridge a known linear map."""

import numpy as np
import pytest

from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Identity, Linear, Provenance
from embridge.evaluation import Relevance, Scope, Side, evaluate

OLD, NEW = Space("old", "1", 8), Space("new", "1", 12)
ITEMS = 300


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def world():
    generator = np.random.default_rng(0)
    things, mix = generator.normal(size=(ITEMS, 12)), generator.normal(size=(12, 8)) / 12**0.5

    def side(space, image_noise, text_noise):
        captions = np.repeat(things, 2, axis=0)
        basis = np.eye(12) if space == NEW else mix
        texts = unit((captions + text_noise * generator.normal(size=captions.shape)) @ basis)
        images = unit((things + image_noise * generator.normal(size=things.shape)) @ basis)
        text_ids = [f"caption {i}" for i in range(2 * ITEMS)]
        return Side(
            Embeddings.of(texts, space, text_ids), Embeddings.of(images, space, [f"photo {i}" for i in range(ITEMS)])
        )

    old, new = side(OLD, 0.6, 1.2), side(NEW, 0.3, 0.3)
    upgrade = Upgrade(Identity(NEW, NEW), Linear(NEW, OLD, mix.astype(np.float32)), Provenance("known"))
    relevance = Relevance.from_pairs((f"caption {i}", f"photo {i // 2}") for i in range(2 * ITEMS))
    return old, new, upgrade, relevance


@pytest.fixture(scope="session")
def report(world):
    """With every cell, a curve, slices and a control."""
    scope = Scope(
        cells=("fused/old", "cascade", "ceiling"),
        cascade_items=30,
        orders={"random": None, "as it comes": [f"photo {i}" for i in range(ITEMS)]},
        slices={"half": {f"caption {i}": "first" if i < ITEMS else "second" for i in range(2 * ITEMS)}},
        about={"measured on": "made-up data"},
        controls={"same": world[2]},
    )
    return evaluate(*world, scope=scope)
