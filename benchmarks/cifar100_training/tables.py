"""Tables of compatible training on CIFAR-100: what is found, what it costs, and the methods that have three seeds."""

import json
from pathlib import Path

from benchmarks.record import FOLDER
from benchmarks.rendering.training import cost, quality

_FIRST = ("independent", "bct", "bct, defaults", "bt2", "oca", "ndpp", "odpp")


def times(folder: Path = FOLDER) -> dict[str, str] | None:
    """Each objective's time over the independent training's, where ``training_overhead`` has measured it."""
    path = folder / "results" / "training_overhead.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    return {row["method"]: f"{row['value']:.2f}" for row in rows if row["metric"] == "ratio"} or None


TABLES = {
    "cifar100-training": lambda: quality("cifar100_training"),
    "cifar100-training-cost": lambda: cost("cifar100_training", times=times()),
    "training-short": lambda: quality("cifar100_training", methods=_FIRST, metrics=("cmc_at_1", "map")),
}
