"""A plan: what a rollout will do, how long it takes and what it costs; read before anything is changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from embridge.atomic_write import atomic_file, refuse_foreign_file
from embridge.errors import InvalidInput
from embridge.rollout.gates import RolloutGate
from embridge.space import Space

__all__ = ["Plan", "read_plan", "write_plan"]

_SCHEMA = "embridge.plan/1"
_KINDS = (
    dict.fromkeys(("settings", "settings_hash", "store", "upgrade", "upgrade_id", "phase", "foreign_writes"), str)
    | dict.fromkeys(("layout", "unreadable"), dict)
    | dict.fromkeys(("statements", "gates", "indexes", "steps"), list)
    | dict.fromkeys(("rows", "missing", "sampled", "workers"), int)
    | dict.fromkeys(("rows_per_second", "price"), int | float)
    | {"assumed": bool}
)
_FLOAT_BYTES = 4
_UNITS = {"MB": 1e6, "GB": 1e9, "TB": 1e12}
_IRREVERSIBLE = "nothing before the old vectors are dropped (embridge complete --drop-old)"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rollout will do.

    Attributes:
        settings: The settings file.
        settings_hash: Of what it says, so that a changed one is noticed.
        store: The store, without passwords.
        upgrade: The upgrade's folder.
        upgrade_id: A hash of it.
        old: The space of the rows that are there.
        new: The space that they get a vector of.
        layout: Of the old rows: table, columns and dims, as JSON; a changed one is noticed.
        phase: Where the rollout stands.
        rows: Rows of the old space.
        missing: Of these, without a new vector.
        sampled: Items that were encoded to measure the time.
        unreadable: Of the sample, items that could not be had, with the reason.
        rows_per_second: That were encoded.
        price: Of an item.
        foreign_writes: How it is noticed what applications write that know nothing of this library, in words.
        statements: What the database is told, where it takes statements: for room, for that, and at the very end.
        gates: How the gates of the settings fare now; `embridge apply` looks at them again.
        indexes: On the old vectors, in words; a backfill builds none.
        steps: What will be done, in the order of its doing, in words.
        workers: Processes that encode side by side at that rate each.
        assumed: Whether the rows are a number that somebody thought of: such a plan is not applied.

    Examples:
        >>> plan = Plan(
        ...     "rollout.yaml", "c3", "lancedb:shop", "upgrade", "a1", Space("mini", "1", 2), Space("mini", "2", 2), {},
        ...     "prepared", rows=1_000, missing=900, sampled=64, unreadable={}, rows_per_second=30.0, price=0.001,
        ... )
        >>> plan.seconds, plan.cost
        (30.0, 0.9)
    """

    settings: str
    settings_hash: str
    store: str
    upgrade: str
    upgrade_id: str
    old: Space
    new: Space
    layout: Mapping[str, Any]
    phase: str
    rows: int
    missing: int
    sampled: int
    unreadable: Mapping[str, str]
    rows_per_second: float
    price: float
    foreign_writes: str = ""
    statements: tuple[str, ...] = ()
    gates: tuple[RolloutGate, ...] = ()
    indexes: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    workers: int = 1
    assumed: bool = False

    @property
    def seconds(self) -> float:
        """How long the backfill takes at that rate."""
        return self.missing / self.rows_per_second / self.workers if self.rows_per_second else 0.0

    @property
    def assumes(self) -> tuple[str, ...]:
        """What the time takes for granted, in words: of more workers or other rows than were measured."""
        if self.workers == 1 and not self.assumed:
            return ()
        rate = self.rows_per_second * self.workers
        megabytes = rate * self.new.dim * _FLOAT_BYTES / 1e6
        return (
            f"each worker encodes {self.rows_per_second:,.0f} rows a second, as this process did with {self.sampled} items: it "
            "has as many processors of its own, or such a GPU",
            f"the store takes {rate:,.0f} rows a second ({megabytes:,.1f} MB of vectors); one that takes fewer sets the time",
            "not counted: starting workers, the model loaded in each, commits, reading items, and an index on the new vectors",
        )

    @property
    def cost(self) -> float:
        """What the items cost that have to be encoded."""
        return self.missing * self.price

    @property
    def vector_bytes(self) -> dict[str, int]:
        """Bytes of float32 vectors now, at most, and after the old rows are dropped; indexes come on top."""
        old, new = (self.rows * space.dim * _FLOAT_BYTES for space in (self.old, self.new))
        there = (self.rows - self.missing) * self.new.dim * _FLOAT_BYTES
        return {"now": old + there, "at most": old + new, "after": new}

    @property
    def following(self) -> str:
        """What to run next: a gate that is not met yet asks for a shadow first."""
        if self.assumed:
            return "embridge plan, for the rows that are there"
        unmet = any(gate.value is None for gate in self.gates)
        again = " --again" if self.phase == "rolled back" else ""
        return f"embridge apply PLAN --until {'shadow' if unmet and self.phase == 'prepared' else 'bridged'}{again}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON, with what follows from it."""
        spaces = {"old": self.old.to_dict(), "new": self.new.to_dict()}
        derived = {"seconds": self.seconds, "cost": self.cost, "vector_bytes": self.vector_bytes}
        derived |= {"assumes": list(self.assumes), "cannot_be_undone": [_IRREVERSIBLE], "next": self.following}
        return {"schema": _SCHEMA} | asdict(self) | spaces | derived

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows for a table."""
        size = [_size(value) for value in self.vector_bytes.values()]
        side_by_side = f", {self.workers:,} workers" if self.workers > 1 else ""
        rows = [
            ["from", str(self.old)],
            ["to", str(self.new)],
            ["now", self.phase],
            ["rows, without a new vector", f"{self.rows:,}, {self.missing:,}{' (assumed)' if self.assumed else ''}"],
            ["items encoded for this plan", f"{self.sampled}, {self.rows_per_second:,.0f} a second"],
            [f"time of the backfill{side_by_side}", _duration(self.seconds)],
            *(["which assumes", one] for one in self.assumes),
            ["cost", f"{self.cost:,.2f}"],
            ["vectors now, at most, after", ", ".join(size)],
        ]
        if self.unreadable:
            name, reason = next(iter(self.unreadable.items()))
            rows.append(["items that could not be had", f"{len(self.unreadable)}, such as {name}: {reason}"])
        if self.foreign_writes:
            rows.append(["what others write", self.foreign_writes])
        rows += [["gate", f"{gate.gate}: {'met' if gate.passed else 'not met'} ({gate.told})"] for gate in self.gates]
        rows += [["index of the old vectors", index] for index in self.indexes]
        rows += [[f"step {number}", step] for number, step in enumerate(self.steps, 1)]
        return ["", ""], [*rows, ["cannot be undone", _IRREVERSIBLE]]

    @staticmethod
    def from_dict(document: Mapping[str, Any]) -> Plan:
        """The inverse of `to_dict`; raises `InvalidInput` for anything else."""
        names = [field.name for field in fields(Plan)]
        try:
            if document["schema"] != _SCHEMA:
                raise ValueError(f"its schema is {document['schema']!r}")
            values = {name: document[name] for name in names}
            for name, kind in _KINDS.items():
                if not isinstance(values[name], kind):
                    raise TypeError(f"its {name} is {values[name]!r:.80}")
            values |= {name: tuple(values[name]) for name in ("indexes", "steps", "statements")}
            values["gates"] = tuple(RolloutGate(**gate) for gate in values["gates"])
            return Plan(**values | {side: Space.from_dict(values[side]) for side in ("old", "new")})
        except KeyError as error:
            raise InvalidInput(
                f"expected a plan ({_SCHEMA}); it lacks {error}; make a new one with embridge plan"
            ) from error
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"expected a plan ({_SCHEMA}); {error}; make a new one with embridge plan") from error


def write_plan(plan: Plan, path: Path | str) -> None:
    """Write a plan as JSON, whole or not at all.

    Args:
        plan: The plan.
        path: The file; a plan is replaced, anything else is refused.

    Raises:
        InvalidInput: There is another file of that name.

    Examples:
        >>> write_plan(Plan("r.yaml", "c", "memory:", "u", "a", Space("m", "1", 2), Space("m", "2", 2), {}, "prepared",
        ...     1, 1, 1, {}, 1.0, 0.0), "plan.json")
        >>> read_plan("plan.json").rows
        1
    """
    refuse_foreign_file(path, marks=[_SCHEMA.encode()], what="a plan")
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(plan.to_dict(), indent=2) + "\n", encoding="utf-8")


def read_plan(path: Path | str) -> Plan:
    """Read a plan.

    Args:
        path: The file.

    Returns:
        The plan.

    Raises:
        InvalidInput: The file is not there, or holds no plan.

    Examples:
        >>> read_plan("nowhere.json")
        Traceback (most recent call last):
        embridge.errors.InvalidInput: nowhere.json cannot be read as a plan: ...
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} cannot be read as a plan: {error}; make one with embridge plan") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{path} holds no plan; make one with embridge plan")
    return Plan.from_dict(document)


def _size(count: float) -> str:
    """Bytes in a unit that leaves few digits."""
    unit = next((unit for unit in ("MB", "GB") if count < 1e3 * _UNITS[unit]), "TB")
    return f"{count / _UNITS[unit]:,.1f} {unit}"


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    return f"{seconds:,.0f} s" if hours < 1 else f"{hours:,.1f} h" if hours < 100 else f"{hours / 24:,.0f} days"
