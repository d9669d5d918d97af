"""The card and the report beside an upgrade's weights, which anybody may change: what was changed is not written again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embridge.errors import InvalidInput

__all__ = ["CARD", "REPORT", "card_with", "changed_by_others", "hashes_of"]

CARD, REPORT = "README.md", "report.json"


def card_with(card: str, added: object) -> str:
    """The card with what somebody adds to it; `InvalidInput` where that is no text that a file can hold."""
    if added is None or added == "":
        return card
    if not isinstance(added, str):
        raise InvalidInput(f"the card: expected text, came {type(added).__name__}")
    if not added.isascii() and any("\ud800" <= one <= "\udfff" for one in added):
        raise InvalidInput("the card holds half of a surrogate pair; write it as UTF-8")
    return f"{card}\n\n{added}"


def hashes_of(texts: Mapping[str, str]) -> dict[str, str]:
    """The sha256 of each text, by its file's name."""
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}


def changed_by_others(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Those of the two files that are there and are not what was written with the manifest."""
    return [name for name in (CARD, REPORT) if (folder / name).is_file() and not _ours(folder / name, manifest)]


def _ours(file: Path, manifest: Mapping[str, Any]) -> bool:
    content = file.read_bytes()
    written = manifest.get("written")
    if isinstance(written, dict):
        return bool(written.get(file.name) == hashlib.sha256(content).hexdigest())
    if file.name == CARD:  # earlier versions wrote down no hashes
        return b" upgrade made with `" in content and b"` by embridge." in content
    try:
        report = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(report, dict) and "values" not in report  # a report that evaluate wrote names its file of values
