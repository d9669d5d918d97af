"""What someone says of an index, and what looking at it says, as a table and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from embridge.items import ItemSource
from embridge.jobs.inspection import Inspection
from embridge.stores.places import Declaration, Place

__all__ = ["Adoption", "Agreement", "Claim", "OddRow", "Verdict"]

Verdict = Literal["agrees", "near", "mixed", "changed", "lengths", "another prompt", "another model", "unchecked"]
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Claim:
    """What someone says of an index.

    Attributes:
        encoder: The model that made the vectors, by its name for `embridge.encoders.load`.
        options: Of that encoder, such as ``document_prompt``.
        place: Where the vectors stand; parts that are empty are found where there is no choice.
        items: Where the rows' texts or images come from; None where they cannot be reached.

    Examples:
        >>> Claim("clip:models/old", items=ItemSource("text", "title")).place.table
        ''
    """

    encoder: str
    options: Mapping[str, Any] = field(default_factory=dict)
    place: Place = field(default_factory=lambda: Place(""))
    items: ItemSource | None = None


@dataclass(frozen=True, slots=True)
class OddRow:
    """A row whose stored vector is not what the model makes of its item now.

    Attributes:
        id: Of the row.
        cosine: Between the two; None where the item could not be had.
        length: Of the stored vector, as a multiple of the other; likewise.
        kind: ``foreign``, near no row of the model; ``changed``, near other rows, as an item that was edited since; ``near``,
            almost the same; ``length``, of another length; ``unusable``, zeros or no numbers.

    Examples:
        >>> OddRow("7", 0.02, 1.0, "foreign").kind
        'foreign'
    """

    id: str
    cosine: float | None
    length: float | None
    kind: Literal["foreign", "changed", "near", "length", "unusable"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """A sample of rows, encoded anew and compared with what is stored.

    Attributes:
        verdict: What the comparison says in a word.
        sentence: The same for people.
        checked: How many rows were compared.
        agreeing: The share of them that agrees.
        same: The share with a cosine of .999 and more.
        close: The share with a cosine from .98 to .999.
        odd: The rows that do not agree, and with ``near`` those that almost do.
        missing: Why the items of other rows could not be had, by id.
        prompt: The prompt that the stored vectors were made with, where another one was found.

    Examples:
        >>> Agreement("unchecked", "nothing was checked").checked
        0
    """

    verdict: Verdict
    sentence: str
    checked: int = 0
    agreeing: float = 0.0
    same: float = 0.0
    close: float = 0.0
    odd: tuple[OddRow, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    prompt: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "checked": self.checked,
            "agreeing": self.agreeing,
            "cosine_0.999_and_more": self.same,
            "cosine_0.98_to_0.999": self.close,
            "cosine_less": 1 - self.same - self.close if self.checked else 0.0,
            "disagreeing": [
                {"id": one.id, "cosine": one.cosine, "length": one.length, "kind": one.kind}
                for one in self.odd
                if one.kind != "near"
            ],
            "near": [{"id": one.id, "cosine": one.cosine} for one in self.odd if one.kind == "near"],
            "missing": dict(self.missing),
            "prompt": self.prompt,
        }

    def rows(self) -> list[list[str]]:
        """Rows for a table."""
        rows = [["check", f"{self.verdict}: {self.sentence}"]]
        if self.checked:
            less = 1 - self.same - self.close
            shares = f"{self.same:.1%}, {self.close:.1%}, {max(less, 0):.1%}"
            rows += [["rows encoded anew", f"{self.checked:,}"], ["cosine ≥ .999, ≥ .98, less", shares]]
        for kind in ("foreign", "changed", "length", "unusable", "near"):
            ids = [_with_cosine(one) for one in self.odd if one.kind == kind]
            if ids:
                rows.append([f"{kind} (cosine)", _some(ids)])
        reasons = Counter(self.missing.values()).most_common(3)
        if self.missing:
            shown = "; ".join(f"{reason} ({count:,})" for reason, count in reasons)
            rows.append(["items that could not be had", f"{len(self.missing):,}: {shown}"])
        return rows


@dataclass(frozen=True, slots=True)
class Adoption:
    """An index, what it is declared to hold, and whether that was believed.

    Attributes:
        store: The store's URL, without passwords.
        declaration: What is said of the vectors.
        inspection: What the rows look like.
        agreement: What the check says.
        refused: Whether the check speaks against it.
        written: Whether it was declared.

    Examples:
        >>> from embridge.jobs.adopt import adopt_index
        >>> adopt_index.__module__
        'embridge.jobs.adopt'
    """

    store: str
    declaration: Declaration
    inspection: Inspection
    agreement: Agreement
    refused: bool
    written: bool

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "schema": "embridge.adoption/1",
            "store": self.store,
            "declaration": self.declaration.to_dict(),
            "rows": self.inspection.rows,
            "agreement": self.agreement.to_dict(),
            "inspection": self.inspection.to_dict(),
            "refused": self.refused,
            "written": self.written,
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows for a table."""
        declared = self.declaration
        place = declared.place
        names = (("table", place.table), ("vectors", place.vector), ("ids", place.id))
        items = "not said" if not declared.items else str(ItemSource.from_dict(declared.items))
        rows = [
            ["space", str(declared.space)],
            ["encoder", declared.encoder or ""],
            ["stands in", ", ".join(f"{what} {name}" for what, name in names if name)],
            ["rows", f"{self.inspection.rows:,}"],
            ["items", items],
            *self.agreement.rows(),
            *(["problem", text] for text in self.inspection.problems),
            *(["look at", text] for text in self.inspection.suspicions),
            [
                "declared",
                "yes" if self.written else "no, the check speaks against it" if self.refused else "no, a dry run",
            ],
        ]
        return ["", ""], rows


def _some(texts: list[str]) -> str:
    return ", ".join(texts[:_SHOWN]) + (f", … ({len(texts):,} in all)" if len(texts) > _SHOWN else "")


def _with_cosine(row: OddRow) -> str:
    return row.id if row.cosine is None else f"{row.id} ({row.cosine:.3f})"
