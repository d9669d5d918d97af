"""What an upgrade is judged by, read as the settings say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embridge.datasets.image_text import ImageTextPairs
from embridge.datasets.judged_pairs import JudgedPairs, read_pairs
from embridge.datasets.labels import read_labels
from embridge.datasets.qrels import read_qrels
from embridge.datasets.tables import column_names
from embridge.datasets.text_lines import read_captions
from embridge.errors import SettingsError
from embridge.evaluation import CROSS_MODAL, LabelRelevance, Relevance, frequency_slices
from embridge.evaluation.gates import parse_gate
from embridge.evaluation.relevance import Truth
from embridge.settings import EvaluateSettings

__all__ = ["Judgements", "read_judgements", "read_orders", "require_answerable", "require_apart"]


@dataclass(frozen=True, slots=True)
class Judgements:
    """Who says what is right, of which queries and items, and the slices to look at apart.

    queries and items are the texts and images themselves where pairs name them, and empty where judgements are by id;
    truth is None where it is the new model's neighbours, which are not known before its vectors are. labelled: the ids of
    labels, which are paths of images where models are encoders.
    """

    truth: Truth | None
    queries: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    cross_modal: bool = False
    labelled: list[str] = field(default_factory=list)
    slices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def directions(self) -> tuple[str, ...]:
        """Text to image and back for pairs of the two; one search otherwise."""
        return CROSS_MODAL if self.cross_modal else ("",)


def read_judgements(settings: EvaluateSettings) -> Judgements:
    """From a table of pairs (or a click log), qrels, or labels."""
    if settings.pairs is not None:
        return _from_pairs(settings, settings.pairs)
    if settings.qrels is not None:
        return Judgements(Relevance.from_grades(read_qrels(settings.qrels)))
    if settings.labels is not None:
        _require_columns(settings.labels, settings.slices)
        labels = read_labels(settings.labels)
        slices = {column: read_labels(settings.labels, column=column) for column in settings.slices}
        return Judgements(LabelRelevance(labels, labels), labelled=list(labels), slices=slices)
    return Judgements(None)


def require_answerable(settings: EvaluateSettings, judgements: Judgements) -> None:
    """Raise `SettingsError` for a gate on a direction, column or label that will not be measured, before any work."""
    for gate in map(parse_gate, settings.gates):
        if gate.direction is not None and gate.direction not in judgements.directions:
            directions = " and ".join(filter(None, judgements.directions)) or "one search, without a name"
            raise SettingsError(f"gate {gate.text!r}: there is no direction {gate.direction!r}, only {directions}")
        if gate.column is not None and gate.column not in judgements.slices:
            columns = ", ".join(sorted(judgements.slices)) or "none; name it in slices"
            raise SettingsError(f"gate {gate.text!r}: there is no slice column {gate.column!r}; there are {columns}")
        if gate.column is not None and gate.label is not None:
            labels = set(judgements.slices[gate.column].values())
            if gate.label not in labels:
                raise SettingsError(
                    f"gate {gate.text!r}: nothing has {gate.column} = {gate.label!r}; there are {sorted(labels)}"
                )


def read_orders(settings: EvaluateSettings) -> dict[str, list[str] | None]:
    """The backfill orders to draw: random, where a curve is asked for, and files of ids, one a line."""
    random: dict[str, list[str] | None] = {"random": None} if settings.curve else {}
    return random | {name: read_captions(path) for name, path in settings.orders.items()}


def require_apart(pairs: ImageTextPairs, judged: EvaluateSettings | None, *, names: tuple[str, str], why: str) -> None:
    """Raise `SettingsError` where judged pairs have a text or an image of these pairs too.

    names: of both in the settings, these pairs first; why: what would come of it.
    """
    if judged is None or judged.pairs is None:
        return
    read, folder = read_judgements(judged), judged.pairs.parent
    texts, images = set(read.queries), {(folder / item).resolve() for item in read.items}
    if not read.cross_modal:
        texts, images = texts | set(read.items), set()
    shared = {
        "texts": [text for text in dict.fromkeys(pairs.captions) if text in texts],
        "images": [image for image in dict.fromkeys(map(str, pairs.images)) if Path(image).resolve() in images],
    }
    for what, both in shared.items():
        if both:
            raise SettingsError(
                f"{' and '.join(names)} share {len(both)} {what}, first {both[0]!r}: {why}; keep them apart"
            )


def _from_pairs(settings: EvaluateSettings, path: Path) -> Judgements:
    clicks = settings.clicks
    columns = tuple(dict.fromkeys([*settings.slices, *([clicks] if clicks else [])]))
    _require_columns(path, columns)
    read = read_pairs(path, columns=columns)
    if clicks:
        triples = zip(*zip(*read.pairs, strict=True), read.numbers(clicks), strict=True)
        truth = Relevance.from_log((query, item, times) for query, item, times in triples)
    else:
        truth = Relevance.from_pairs(read.pairs)
    slices = {column: _labels(read, column) for column in settings.slices}
    if clicks:
        slices["frequency"] = frequency_slices(truth.inverted().weights) | frequency_slices(truth.weights)
    return Judgements(truth, read.queries, read.items, read.cross_modal, slices=slices)


def _require_columns(path: Path, columns: Sequence[str]) -> None:
    """A column that the settings name is looked for first: where it is not there, the settings are wrong."""
    held = column_names(path) if columns else []
    for column in columns:
        if column not in held:
            raise SettingsError(f"evaluate: {path} has no column {column!r}; there are {', '.join(held)}")


def _labels(read: JudgedPairs, column: str) -> dict[str, str]:
    """The label of every query, and of every item; that of its first pair where they differ."""
    labels: dict[str, str] = {}
    for pair, label in zip(read.pairs, read.columns[column], strict=True):
        for name in pair:
            labels.setdefault(name, label)
    return labels
