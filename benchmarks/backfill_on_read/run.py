"""Captions search photos while the photos are encoded again: which come first, and when is it as good as the end.

Old: MobileNetV1-0.25 and LSA, 128-d. New: MobileNetV2-1.0 and MiniLM, 256-d, as in ``flickr8k``; both are linear heads on
3,000 train photos, and so is the bridge. The gallery is the other 4,000 photos of train and dev.

How often a photo is looked for follows Zipf's law with exponent 1, by a rank drawn for each log. Whoever looks for a photo
asks with one of its captions: one of the first four in a log, the fifth when quality is measured. Quality is the share of
these queries whose photo is among the ten best. Hits of old and new rows are merged by ``distance-rank``, fitted on captions
of training photos.

Orders: ``random``; ``popularity``, by how often photos were opened in a log of the time before; ``opened``, each photo when
it is opened first; ``found``, the bridge's ten best of each query as it comes. ``found, cascade`` is the same order, where the
new model also ranks the bridge's ten best of the query itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.data.flickr8k import CAPTIONS_EACH, encode, load
from benchmarks.record import read_config, write_result
from embridge import Embeddings
from embridge.adapters.base import normalized
from embridge.evaluation import Side
from embridge.evaluation.calibrate import fit_calibration
from embridge.methods import make
from embridge.nearest import top_k
from embridge.query.calibration import Calibration

NAME = Path(__file__).parent.name


class World:
    """Queries and photos of one seed, as both models and the bridge see them."""

    def __init__(self, config: dict[str, Any], seed: int) -> None:
        data = load("dev")
        train = data["train"]
        data |= {
            "train": train[: config["train_photos"]],
            "measured": np.concatenate([train[config["train_photos"] :], data["measured"]]),
        }
        pairs, sides = encode(data, seed)
        upgrade = make(config["method"]).fit(pairs, seed=seed)
        old, new = sides["measured"]
        bridged = upgrade.to_index_space(new.queries)
        self.old, self.new = normalized(old.gallery.vectors), normalized(new.gallery.vectors)
        self.by_bridge, self.by_new = normalized(bridged.vectors), normalized(new.queries.vectors)
        self.by_old = normalized(old.queries.vectors)
        self.best = top_k(bridged.vectors, old.gallery.vectors, config["candidates"]).rows
        self.merge = _calibration(upgrade, sides["train"], config["calibration_queries"], seed)


def _calibration(upgrade: Any, sides: tuple[Side, Side], queries: int, seed: int) -> Calibration:
    old, new = sides
    drawn = np.random.default_rng(seed).permutation(len(new.queries))[:queries]
    asked: Embeddings = new.queries.take(drawn)
    bridged = Side(upgrade.to_index_space(asked), old.gallery)
    return fit_calibration("distance-rank", Side(asked, new.gallery), bridged, seed=seed)


class Log:
    """Who looks for what: a log before the backfill, one during it, and the queries that are measured."""

    def __init__(self, world: World, config: dict[str, Any], seed: int, number: int) -> None:
        draw, count = np.random.default_rng((seed, number)), len(world.old)
        chance = 1 / np.arange(1, count + 1)
        chance = (chance / chance.sum())[draw.permutation(count)]
        before, self.during = (draw.choice(count, config["log_queries"], p=chance) for _ in range(2))
        captions = self.during * CAPTIONS_EACH + draw.integers(0, CAPTIONS_EACH - 1, len(self.during))
        self.sought = draw.choice(count, config["measured_queries"], p=chance)
        self.asked = self.sought * CAPTIONS_EACH + CAPTIONS_EACH - 1
        random = draw.permutation(count)
        self.orders = {
            "random": random,
            "popularity": random[np.argsort(-np.bincount(before, minlength=count)[random], kind="stable")],
            "opened": _first(self.during, random),
            "found": _first(world.best[captions].ravel(), random),
        }


def _first(ids: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Each id where it comes first, and the others after that."""
    return np.array(list(dict.fromkeys([*ids.tolist(), *others.tolist()])))


class Quality:
    """The share of a log's measured queries whose photo is among the k best, by what is encoded."""

    def __init__(self, world: World, log: Log, config: dict[str, Any]) -> None:
        self._world, self._log, self._k = world, log, config["k"]
        self._rows = np.arange(len(log.asked))
        self._old, self._new = (
            world.by_bridge[log.asked] @ world.old.T,
            world.by_new[log.asked] @ world.new.T,
        )
        self._old_value, self._new_value = (
            curve(scores.astype(np.float64)).astype(np.float32)
            for curve, scores in ((world.merge.old, self._old), (world.merge.new, self._new))
        )

    def of_old_model(self) -> float:
        return self._share(self._world.by_old[self._log.asked] @ self._world.old.T)

    def of_new_rows(self) -> float:
        return self._share(self._new)

    def mixed(self, done: np.ndarray) -> float:
        return self._share(np.where(done[None], self._new_value, self._old_value))

    def cascade(self, done: np.ndarray) -> float:
        ranked = np.repeat(done[None], len(self._rows), axis=0)
        np.put_along_axis(ranked, self._world.best[self._log.asked], True, axis=1)
        return self._share(np.where(ranked, self._new, -np.inf))

    def _share(self, values: np.ndarray) -> float:
        own = values[self._rows, self._log.sought]
        return float((np.isfinite(own) & ((values > own[:, None]).sum(axis=1) < self._k)).mean())


def measured(world: World, config: dict[str, Any], seed: int) -> dict[tuple[str, float], list[float]]:
    """By order and share encoded: the quality for each log; and that of the old model and of the end."""
    found: dict[tuple[str, float], list[float]] = {}
    for number in range(config["logs"]):
        log = Log(world, config, seed, number)
        quality = Quality(world, log, config)
        found.setdefault(("old", 0.0), []).append(quality.of_old_model())
        found.setdefault(("independent", 1.0), []).append(quality.of_new_rows())
        for share in config["shares"]:
            for name, order in log.orders.items():
                done = np.zeros(len(order), bool)
                done[order[: round(share * len(order))]] = True
                found.setdefault((name, share), []).append(quality.mixed(done))
                if name == "found":
                    found.setdefault(("found, cascade", share), []).append(quality.cascade(done))
    return found


def rows_of(found: dict[tuple[str, float], list[float]], config: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """One row an order and share, its quality over the full backfill's; and the least share from which on that is enough."""
    full = np.mean(found["independent", 1.0])
    rows = []
    for (name, share), values in found.items():
        half = 1.96 * np.std(values, ddof=1) / len(values) ** 0.5
        middle = float(np.mean(values))
        value, low, high = (float(x / full) for x in (middle, middle - half, middle + half))
        rows.append(_row(name, seed, {"share": share}, "quality", value) | {"low": low, "high": high})
    rows.append(_row("independent", seed, {}, f"recall_at_{config['k']}", float(full)))
    for name in dict.fromkeys(name for name, _ in found if name not in ("old", "independent")):
        enough = [share for share in config["shares"] if np.mean(found[name, share]) < config["enough"] * full]
        later = [share for share in config["shares"] if not enough or share > max(enough)]
        first = next(s for s in config["shares"] if np.mean(found[name, s]) >= config["enough"] * full)
        rows.append(_row(name, seed, {"enough": config["enough"]}, "share", first))
        rows.append(_row(name, seed, {"enough": config["enough"]}, "share_for_good", later[0]))
    return rows


def _row(method: str, seed: int, setting: dict[str, Any], metric: str, value: float) -> dict[str, Any]:
    described = {"method": method, "seed": seed, "setting": setting, "cell": "mixed", "direction": "t2i"}
    return described | {"metric": metric, "value": value, "low": value, "high": value}


def main() -> None:
    torch.set_num_threads(1)
    config, rows = read_config(NAME), []
    for seed in range(config["seeds"]):
        world = World(config, seed)
        rows += rows_of(measured(world, config, seed), config, seed)
    write_result(NAME, config, rows)


if __name__ == "__main__":
    main()
