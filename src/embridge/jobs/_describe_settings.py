"""What a settings file asks for, and the commands that take it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embridge.jobs.description import Description
from embridge.stores import parse_url

__all__ = ["describe_settings"]


def describe_settings(path: Path) -> Description:
    """Describe a settings file, of an upgrade or of a training; mistakes in it are errors, as they are to its commands.

    >>> Path("images").mkdir()
    >>> _ = Path("train.yaml").write_text("data: {images: images}\\nobjective: {name: independent, settings: {dim: 8}}\\n")
    >>> describe_settings(Path("train.yaml")).next_steps
    ('embridge train train.yaml',)
    """
    from embridge.settings import load_settings, load_training_settings  # vectors are inspected without them

    if _is_of_training(path):
        return _of_training(path, load_training_settings(path))
    return _of_upgrade(path, load_settings(path))


def _is_of_training(path: Path) -> bool:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.startswith(("data:", "objective:")) for line in lines)


def _of_training(path: Path, settings: Any) -> Description:
    facts = {
        "for": "a training",
        "objective": settings.objective.name,
        "old": None if settings.old is None else _model(settings.old),
        "data": _named(settings.data, "images", "dataset", "vectors"),
        "model": _place(settings.model),
        "upgrade": None if settings.old is None else _place(settings.upgrade),
    }
    return Description(str(path), "settings", facts, (f"embridge train {path}",))


def _of_upgrade(path: Path, settings: Any) -> Description:
    judged = _named(settings.evaluate, "judged", "qrels", "labels", "neighbours") if settings.evaluate else None
    facts = {
        "for": "an upgrade",
        "old": _model(settings.old),
        "new": _model(settings.new),
        "method": settings.fit.method,
        "captions": None if settings.fit.captions is None else str(settings.fit.captions),
        "judged by": judged,
        "gates": [str(gate) for gate in settings.evaluate.gates] if settings.evaluate else None,
        "upgrade": _place(settings.upgrade),
        "report": _place(settings.report),
    }
    fitted = Path(settings.upgrade).exists()
    steps = [f"embridge evaluate {path}"] if fitted and judged else []
    return Description(str(path), "settings", facts, (*(() if fitted else (f"embridge fit {path}",)), *steps))


def _model(model: Any) -> str:
    store = getattr(model, "store", None)
    return str(parse_url(store)) if store else model.encoder or "vectors in files"


def _named(section: Any, *keys: str) -> str | None:
    values = {key: getattr(section, key) for key in keys}
    return next((f"{key}: {value}" for key, value in values.items() if value is not None), None)


def _place(path: Path) -> str:
    return f"{path} ({'there' if Path(path).exists() else 'not there yet'})"
