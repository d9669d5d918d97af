"""What an upgrade is judged by, read as the settings say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embridge.datasets.judged_pairs import JudgedPairs, pairs_of
from embridge.datasets.labels import labels_of
from embridge.datasets.qrels import read_qrels
from embridge.datasets.tables import Table, read_table
from embridge.datasets.text_lines import read_captions
from embridge.errors import InvalidInput, SettingsError
from embridge.evaluation import CROSS_MODAL, LabelRelevance, Relevance, frequency_slices
from embridge.evaluation.gates import parse_gate
from embridge.evaluation.relevance import AnyRelevance
from embridge.settings import EvaluateSettings

__all__ = ["Judgements", "read_judgements", "read_orders", "require_answerable"]

_TITLES = (("id", "title"), ("id", "text"), ("document", "title"), ("image", "title"), ("query", "query_title"))


@dataclass(frozen=True, slots=True)
class Judgements:
    """Who says what is right, of which queries and items, and the slices to look at apart.

    queries and items are the texts and images themselves where pairs name them, and empty where judgements are by id;
    relevance is None where it is the new model's neighbours, which are not known before its vectors are. labelled: the ids
    of labels, which are paths of images where models are encoders, unless ``texts`` has what stands for each. folder: where
    the images are that these name; None where judgements are of ids alone. titles: what people read for an id.
    """

    relevance: AnyRelevance | None
    queries: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    cross_modal: bool = False
    labelled: list[str] = field(default_factory=list)
    texts: Mapping[str, str] = field(default_factory=dict)
    slices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    folder: Path | None = None
    titles: Mapping[str, str] = field(default_factory=dict)

    @property
    def modalities(self) -> frozenset[str]:
        """What a model has to take to be judged."""
        images = bool(self.labelled) and not self.texts
        return frozenset({"image"} if images else {"text", "image"} if self.cross_modal else {"text"})

    @property
    def directions(self) -> tuple[str, ...]:
        """Text to image and back for pairs of the two; one search otherwise."""
        return CROSS_MODAL if self.cross_modal else ("",)


def read_judgements(settings: EvaluateSettings, *, images: bool = True) -> Judgements:
    """From a table of judged pairs (or a click log), qrels, or labels; each file is read once.

    images: whether the models take images; labels of others are of the texts in the table's column ``text``.
    """
    if settings.judged is not None:
        return _from_pairs(settings, read_table(settings.judged, names=settings.columns))
    if settings.qrels is not None:
        return Judgements(Relevance.from_grades(read_qrels(settings.qrels, names=settings.columns)))
    if settings.labels is not None:
        return _from_labels(settings, images, read_table(settings.labels, names=settings.columns))
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


def _from_pairs(settings: EvaluateSettings, table: Table) -> Judgements:
    clicks = settings.clicks
    columns = tuple(dict.fromkeys([*settings.slices, *([clicks] if clicks else [])]))
    _require_columns(table, columns)
    pairs = pairs_of(table, columns=columns, named=settings.columns)
    slices = {column: _labels(pairs, column) for column in settings.slices}
    if clicks:
        triples = zip(*zip(*pairs.pairs, strict=True), pairs.numbers(clicks), strict=True)
        relevance = Relevance.from_log((query, item, times) for query, item, times in triples)
        slices["frequency"] = frequency_slices(relevance.inverted().weights) | frequency_slices(relevance.weights)
    else:
        relevance = Relevance.from_pairs(pairs.pairs)
    return Judgements(
        relevance,
        pairs.queries,
        pairs.items,
        pairs.cross_modal,
        slices=slices,
        folder=table.path.parent,
        titles=_titles(table),
    )


def _from_labels(settings: EvaluateSettings, images: bool, table: Table) -> Judgements:
    _require_columns(table, settings.slices)
    if not images and "text" not in table.names:
        raise SettingsError(
            f"evaluate: not all encoders take images, so labels are of texts, in a column 'text' beside each id; "
            f"{table.path} has {', '.join(table.names)}"
        )
    labels = labels_of(table)
    slices = {column: labels_of(table, column=column) for column in settings.slices}
    texts = {} if images else labels_of(table, column="text")
    relevance, folder = LabelRelevance(labels, labels), table.path.parent
    titles = texts or _titles(table)
    return Judgements(relevance, labelled=list(labels), texts=texts, slices=slices, folder=folder, titles=titles)


def _titles(table: Table) -> dict[str, str]:
    """The title of each id, of the first row that has one; blank ones and columns that hold none are passed over."""
    titles: dict[str, str] = {}
    for column, title in _TITLES:
        if column in table.names and title in table.names:
            try:
                values = table.columns([column], "id")[column], table.columns([title])[title]
            except InvalidInput:  # they are there to be looked at, and no run fails for that
                continue
            for name, text in zip(*values, strict=True):
                if text:
                    titles.setdefault(name, text)
    return titles


def _require_columns(table: Table, columns: Sequence[str]) -> None:
    """A column that the settings name is looked for first: where it is not there, the settings are wrong."""
    for column in columns:
        if column not in table.names:
            raise SettingsError(f"evaluate: {table.path} has no column {column!r}; there are {', '.join(table.names)}")


def _labels(read: JudgedPairs, column: str) -> dict[str, str]:
    """The label of every query, and of every item; that of its first pair where they differ."""
    labels: dict[str, str] = {}
    for pair, label in zip(read.pairs, read.columns[column], strict=True):
        for name in pair:
            labels.setdefault(name, label)
    return labels
