"""Chains of versions whose bridges are known, and rows of their spaces."""

from itertools import pairwise

import numpy as np

from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Identity, Linear, Prefix
from embridge.adapters.base import normalized
from embridge.adapters.chain import Chain
from embridge.provenance import Provenance


def version(number, dim):
    return Space(f"version {number}", "1", dim)


def link(new, old, bridge=Prefix, encoders=None):
    return Upgrade(Identity(new, new), bridge(new, old), Provenance("known", seed=new.dim, encoders=encoders or {}))


def chain_of(dims, bridge=Prefix):
    spaces = [version(number, dim) for number, dim in enumerate(dims)]
    return Chain([link(new, old, bridge) for old, new in pairwise(spaces)])


def rotated(new, old):
    return Linear(new, old, np.random.default_rng(new.dim).normal(size=(new.dim, old.dim)).astype(np.float32))


def rows_of(space, count=30, seed=0):
    drawn = np.random.default_rng((seed, space.dim)).normal(size=(count, space.dim)).astype(np.float32)
    return Embeddings.of(normalized(drawn), space)


def step_by_step(chain, rows, old):
    for one in reversed(chain.links[old : chain.number(rows.space)]):
        rows = one.to_index_space(rows)
    return rows
