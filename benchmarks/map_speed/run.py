"""How long a closed-form map takes to fit and to apply, each against the plain way of doing the same.

Fits: 20,000 pairs of 768 and 512 dimensions. Procrustes against scipy's, which wants equal dims, so that the old side is
padded with zeros; ridge against scikit-learn's with the same penalty, and with the penalty and the centring chosen the
same way, in a loop; low-rank against scikit-learn's ridge and the singular vectors of its fitted values. Before the
clock starts, both are shown to make the same map. Whole fits of 768 and 768 dimensions, with all that is chosen and
checked, against the singular vectors of numpy's XᵀY alone, by processor time. One query, the median of many: every kind of
map at 768 dimensions, and upgrades that were saved and loaded, against one product of numpy.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

from benchmarks.data.planted import make_pairs
from benchmarks.protocols.turns import compared, median_calls_by_turns, timed_by_turns
from benchmarks.record import read_config, write_result
from embridge import Embeddings, Space, Upgrade
from embridge.adapters import MLP, Adapter, Composed, Identity, Layer, Linear, Provenance
from embridge.methods import Pairs, make
from embridge.methods.validation import held_out_score

Config = Mapping[str, Any]
Map = Callable[[np.ndarray], np.ndarray]


def fits(config: Config) -> list[dict[str, Any]]:
    pairs = make_pairs(config["pairs"], config["d_new"], config["d_old"])
    penalty, rank = config["penalty"], config["rank"]
    fixed = {"center": True, "penalty": penalty}
    ways: dict[str, tuple[Callable[[], Map], str, Callable[[], Map]]] = {
        "procrustes": (ours(pairs, "procrustes", {"center": True}), "scipy", lambda: scipy_rotation(pairs)),
        "ridge, one penalty": (ours(pairs, "ridge", fixed), "scikit-learn", lambda: sklearn_ridge(pairs, penalty)),
        "ridge, chosen": (ours(pairs, "ridge", {}), "scikit-learn", lambda: sklearn_chosen(pairs)),
        "low-rank, one penalty": (
            ours(pairs, "low-rank", fixed | {"rank": rank}),
            "scikit-learn",
            lambda: sklearn_low_rank(pairs, penalty, rank),
        ),
    }
    rows = []
    for task, (mine, other, theirs) in ways.items():
        require_same_map(task, mine(), theirs(), pairs.new.vectors[:500])
        rows += compared(task, "fit_seconds", 1, config, {"embridge": mine, other: theirs})
    return rows


def ours(pairs: Pairs, name: str, settings: Mapping[str, Any]) -> Callable[[], Map]:
    return lambda: make(name, settings).fit(pairs).bridge.apply


def scipy_rotation(pairs: Pairs) -> Map:
    new, old = unit(pairs.new.vectors), unit(pairs.old.vectors)
    means = new.mean(axis=0), old.mean(axis=0)
    padded = np.pad(old - means[1], ((0, 0), (0, new.shape[1] - old.shape[1])))
    rotation = orthogonal_procrustes(new - means[0], padded)[0][:, : old.shape[1]]
    return lambda x: (unit(x) - means[0]) @ rotation + means[1]


def sklearn_ridge(pairs: Pairs, penalty: float, *, center: bool = True) -> Map:
    new, old = unit(pairs.new.vectors), unit(pairs.old.vectors)
    model = Ridge(alpha(new, penalty, center=center), fit_intercept=center, solver="cholesky").fit(new, old)
    return lambda x: model.predict(unit(x))


def alpha(new: np.ndarray, penalty: float, *, center: bool) -> float:
    """The penalty as scikit-learn takes it: times the mean eigenvalue of XᵀX."""
    spread = new - new.mean(axis=0) if center else new
    return penalty * float(np.einsum("nd,nd->", spread, spread)) / new.shape[1]


def sklearn_chosen(pairs: Pairs) -> Map:
    """Every penalty with and without centring, scored on the same held-out pairs, then fitted again on all."""
    ridge = make("ridge")
    train, held_out = pairs.hold_out(ridge.validation_fraction, seed=0)
    tried = [(center, penalty) for center in (False, True) for penalty in ridge.penalties]
    scores = []
    for center, penalty in tried:
        mapped = sklearn_ridge(train, penalty, center=center)(held_out.new.vectors)
        cosine = np.einsum("nd,nd->n", unit(mapped), unit(held_out.old.vectors)).mean()
        scores.append((held_out_score(mapped, held_out.old.vectors), float(cosine)))
    center, penalty = tried[max(range(len(tried)), key=scores.__getitem__)]
    return sklearn_ridge(pairs, penalty, center=center)


def sklearn_low_rank(pairs: Pairs, penalty: float, rank: int) -> Map:
    """Ridge, then its right singular vectors in the metric of the penalised problem."""
    new, old = unit(pairs.new.vectors), unit(pairs.old.vectors)
    strength = alpha(new, penalty, center=True)
    model = Ridge(strength, solver="cholesky").fit(new, old)
    made, weight = (new - new.mean(axis=0)) @ model.coef_.T, model.coef_.T
    _, vectors = np.linalg.eigh(made.T @ made + strength * weight.T @ weight)
    kept, mean = vectors[:, -rank:], old.mean(axis=0)
    return lambda x: (model.predict(unit(x)) - mean) @ kept @ kept.T + mean


def require_same_map(task: str, mine: Map, theirs: Map, x: np.ndarray) -> None:
    cosine = np.einsum("nd,nd->n", unit(mine(x)), unit(theirs(x))).min()
    if cosine < 0.999:
        sys.exit(f"{task}: the two maps differ (cosine {cosine:.4f}), so that their times say nothing")


def whole_fits(config: Config) -> list[dict[str, Any]]:
    """What `fit` does beside the decomposition: checks, choices on held-out pairs, provenance."""
    pairs = make_pairs(config["pairs"], config["d_new"], config["d_old"])
    new, old = pairs.new.vectors, pairs.old.vectors
    ways: dict[str, Callable[[], object]] = {
        "procrustes, chosen": ours(pairs, "procrustes", {}),
        "whitened-procrustes, chosen": ours(pairs, "whitened-procrustes", {}),
        "numpy-svd": lambda: np.linalg.svd(new.T @ old),
    }
    timed = partial(timed_by_turns, clock=time.process_time)
    return compared("whole fit", "fit_seconds", 1, config, ways, timed=timed)


def single(config: Config) -> list[dict[str, Any]]:
    """One query at a time, through every kind of map and through one product of numpy."""
    rng = np.random.default_rng(0)
    dim = config["dim"]
    x = unit(rng.standard_normal((1, dim), dtype=np.float32))
    columns, row = layer(rng, dim, dim).weight, x[0]
    maps = adapters(config, rng)
    ways: dict[str, Callable[[], object]] = {name: partial(adapter.apply, x) for name, adapter in maps.items()}
    ways |= checked(x, {name: maps[name] for name in ("linear", "linear with bias")})
    ways["numpy"] = lambda: columns @ row
    timed = partial(median_calls_by_turns, calls=config["calls"])
    return compared("single-map", "seconds", 1, config, ways, timed=timed)


def checked(x: np.ndarray, maps: Mapping[str, Adapter]) -> dict[str, Callable[[], object]]:
    """The same maps in upgrades that were saved and loaded: spaces and numbers are checked."""
    ways: dict[str, Callable[[], object]] = {}
    for name, adapter in maps.items():
        with TemporaryDirectory() as folder:
            head = Identity(adapter.source, adapter.source)
            upgrade = Upgrade.load(Upgrade(head, adapter, Provenance("benchmark")).save(Path(folder) / "upgrade"))
        space = Space.from_dict(adapter.source.to_dict())
        ways[f"upgrade of {name}"] = partial(upgrade.to_index_space, Embeddings(("query",), x, space))
        ways[f"embeddings, and upgrade of {name}"] = partial(from_array, upgrade, x, space)
    return ways


def from_array(upgrade: Upgrade, x: np.ndarray, space: Space) -> Embeddings:
    return upgrade.to_index_space(Embeddings(("query",), x, space))


def adapters(config: Config, rng: np.random.Generator) -> dict[str, Adapter]:
    """The maps that methods end as, with random weights."""
    dim, rank, width = config["dim"], config["rank"], config["hidden_width"]
    new, old, middle = Space("new", "", dim), Space("old", "", dim), Space("middle", "", rank, "dot")
    whole, down, up = layer(rng, dim, dim), layer(rng, dim, rank), layer(rng, rank, dim)
    deep = [layer(rng, dim, width), layer(rng, width, width), layer(rng, width, dim)]
    narrow = [
        Linear(new, middle, down.weight, normalize_input=True),
        Linear(middle, old, up.weight, up.bias),
    ]
    return {
        "linear": Linear(new, old, whole.weight),
        "linear with bias": Linear(new, old, whole.weight, whole.bias, normalize_input=True),
        f"low-rank {rank}": Composed(narrow),
        f"mlp {width}": MLP(new, old, deep, skip=whole),
    }


def layer(rng: np.random.Generator, d_in: int, d_out: int) -> Layer:
    weight = rng.standard_normal((d_in, d_out), dtype=np.float32) / np.float32(np.sqrt(d_in))
    return Layer(weight, np.zeros(d_out, np.float32))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="where the JSON goes; results/map_speed.json else")
    out = parser.parse_args().out
    config = read_config("map_speed")
    with threadpool_limits(config["threads"]):
        rows = single(config["single"]) + whole_fits(config["whole"]) + fits(config["fit"])
        for measured in rows:
            print(json.dumps(measured), file=sys.stderr)
        write_result("map_speed", config, rows, path=out)


if __name__ == "__main__":
    main()
