"""A mixed search beside searches of all rows: it gets better with every row that is new, from the first one on."""

import itertools

import numpy as np
import pytest

from embridge.adapters import Identity, Prefix, Provenance
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.rollout._answers import Answering
from embridge.space import Space
from embridge.stores import MemoryStore

OLD, NEW = Space("mini", "1", 6), Space("maxi", "1", 8)
UPGRADE = Upgrade(Identity(NEW, NEW), Prefix(NEW, OLD), Provenance("prefix"))


def world(share):
    rng = np.random.default_rng(0)
    items = Embeddings.of(rng.standard_normal((400, 8)).astype(np.float32), NEW)
    asked = Embeddings.of(rng.standard_normal((60, 8)).astype(np.float32), NEW)
    store = MemoryStore(OLD, NEW)
    store.upsert(items.with_vectors(items.vectors[:, :6].copy(), OLD))
    store.upsert(items.take(np.sort(rng.permutation(400)[: int(share * 400)])))
    whole = MemoryStore(NEW)
    whole.upsert(items)
    answering = Answering(store.search, UPGRADE, "rrf", lambda names: store.fetch(NEW, names))
    return answering, asked, whole.search(asked, 10).ids


def agreement(found, right):
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, right, strict=True)]))


def test_a_mixed_search_begins_as_the_bridge_and_ends_as_the_new_model():
    answering, asked, _ = world(0.0)
    assert answering.mixed(asked, 10).ids == answering.bridged(asked, 10).ids
    answering, asked, right = world(1.0)
    assert answering.mixed(asked, 10).ids == answering.new(asked, 10).ids == right


def test_few_new_rows_crowd_out_no_better_old_ones():
    reached = []
    for share in (0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.95, 1.0):
        answering, asked, right = world(share)
        found = answering.mixed(asked, 10).ids
        assert all(len(set(ids)) == 10 for ids in found)
        reached.append(agreement(found, right))
    assert all(after >= before - 0.01 for before, after in itertools.pairwise(reached)), reached
    assert reached[0] < 0.7 < reached[-2] < reached[-1] == 1


@pytest.mark.parametrize("merge", ["rrf", "raw"])
def test_old_rows_are_read_no_deeper_than_they_matter(merge):
    answering, asked, _ = world(1.0)
    depths = []

    def search(queries, k):
        depths.append((queries.space, k))
        return answering.search(queries, k)

    Answering(search, UPGRADE, merge, answering.renewed).mixed(asked.take([0]), 2)
    assert max(k for space, k in depths if space == OLD) <= (4 if merge == "rrf" else 40)
