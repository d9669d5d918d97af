"""What a kill leaves of Qdrant's engine: it opens no folder whose settings name vectors that are gone from the segments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from embridge.atomic_write import atomic_file

__all__ = ["CONFIG", "finish_drop"]

CONFIG = "edge_config.json"


def finish_drop(folder: Path) -> bool:
    """Take named vectors out of the settings of which no segment has anything any more; whether there were any.

    The engine drops a vector from its segments first, and from its settings after. Killed in between, it refuses to open the
    folder. Nothing is left of the vectors then, and whoever killed the drop calls it again, or adds the space anew.
    """
    config, segments = _read(folder / CONFIG), [_read(path) for path in sorted(folder.glob("segments/*/segment.json"))]
    try:
        held = {name for one in segments for name in one["config"]["vector_data"]}
        gone = set(config["vectors"]) - held
    except (KeyError, TypeError):
        return False  # other settings than are known: the engine says itself what is wrong
    if not segments or not held or not gone:
        return False
    kept = {name: params for name, params in config["vectors"].items() if name not in gone}
    with atomic_file(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(config | {"vectors": kept}), encoding="utf-8")
    return True


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
