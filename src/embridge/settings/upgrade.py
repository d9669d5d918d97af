"""One YAML file says what to fit and what to evaluate; unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from embridge.evaluation import MORE_CELLS, Scope
from embridge.evaluation.gates import FLIP_RATES, Gate, parse_gate
from embridge.evaluation.measures import FULL, measure
from embridge.evaluation.one_set import OwnItems
from embridge.evaluation.report import BACKFILLED, OLD, UPGRADED
from embridge.settings._columns import Columns, columns_of, require_column_keys
from embridge.settings._seed import Seed
from embridge.settings.engine import EngineSection
from embridge.settings.models import ModelSettings, OldModelSettings
from embridge.settings.reading import Strict, checked_settings, read_settings

__all__ = ["EvaluateSettings", "FitSettings", "Settings", "load_settings", "store_settings"]


class FitSettings(Strict):
    """How the bridge is fitted.

    Attributes:
        captions: A file or folder of captions, which both encoders encode.
        column: Which column of a table holds them; short for ``columns: {captions: {text: …}}``.
        columns: What the columns of these tables are called, where it is not text, image, query and document.
        weigh_repeats: Whether a caption counts as often as it comes.
        cache: Where encoded captions and checkpoints are kept.
        method: A method by name, see `embridge.methods.METHODS`.
        settings: The method's own settings.
        judged: A table of judged pairs to choose a method by.
        metrics: What they are judged by; the last decides.
        validation_pairs: Image-text pairs that XBT is judged by while it trains.
        finetune_pairs: Image-text pairs that the new model is finetuned on, after the bridge.
        finetune: The settings of that, see `XBTFinetune`.
        seed: Of all that is random.

    Examples:
        >>> FitSettings().method
        'choose'
    """

    renamed: ClassVar[dict[str, str]] = {"pairs": "finetune_pairs"}

    captions: Path | None = None
    column: str | None = None
    columns: Columns = Field(default_factory=dict)
    weigh_repeats: bool = False
    cache: Path | None = None
    method: str = "choose"
    settings: dict[str, Any] = Field(default_factory=dict)
    judged: Path | None = None
    metrics: tuple[str, ...] = Field(default=("recall_at_10",), min_length=1)
    validation_pairs: Path | None = None
    finetune_pairs: Path | None = None
    finetune: dict[str, Any] = Field(default_factory=dict)
    seed: Seed = 0

    @model_validator(mode="after")
    def _columns(self) -> FitSettings:
        files = ("captions", "judged", "validation_pairs", "finetune_pairs")
        require_column_keys(self.columns, ("text", "image", "query", "document"), files=files)
        if self.column is not None and "text" in columns_of(self.columns, "captions"):
            raise ValueError("column and columns both name the column of the captions; leave one out")
        return self


class EvaluateSettings(Strict):
    """What the upgrade is judged by, what is measured, and what must hold.

    Attributes:
        judged: A table of judged pairs; or else one of qrels, labels, neighbours.
        qrels: Graded judgements as TREC and BEIR write them.
        labels: A table of labels; items of the query's own label are right.
        neighbours: So many nearest items by the new model are right, where nobody judged anything.
        columns: What the columns of the table are called, where it is not text, image, query, document, id, label, score,
            title and query_title.
        clicks: The column of the pairs that says how often each was clicked.
        slices: Columns by which figures are shown apart.
        metrics: See `embridge.evaluation.MEASURES`.
        cells: Cells besides the four of every report; those that make sense where None.
        cascade_items: How many items a cascade encodes again for a query.
        curve: Whether to draw the backfill curve.
        orders: Files of ids, in whose order a backfill could go.
        gates: What must hold, such as ``recall_at_10 new/old >= old/old``.
        precisions: For which the thresholds of scores are shown.
        thresholds: Scores at which precision is shown.
        unjudged: What becomes of queries with nothing relevant.
        own_items: Whether a query whose id the gallery has is that item, which it may not find, or another thing.
        seed: Of the bootstrap and of random orders.

    Examples:
        >>> EvaluateSettings(judged="judged.csv").metrics
        ('recall_at_1', 'recall_at_5', 'recall_at_10')
    """

    renamed: ClassVar[dict[str, str]] = {"pairs": "judged"}

    judged: Path | None = None
    qrels: Path | None = None
    labels: Path | None = None
    neighbours: int | None = Field(default=None, ge=1)
    columns: Columns = Field(default_factory=dict)
    clicks: str | None = None
    slices: tuple[str, ...] = ()
    metrics: tuple[str, ...] = Field(default=("recall_at_1", "recall_at_5", "recall_at_10"), min_length=1)
    cells: tuple[str, ...] | None = None
    cascade_items: int = Field(default=100, ge=1)
    curve: bool = False
    orders: dict[str, Path] = Field(default_factory=dict)
    gates: tuple[str, ...] = ()
    precisions: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.5, 0.75, 0.9)
    thresholds: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = ()
    unjudged: Literal["skip", "zero", "error"] = "skip"
    own_items: OwnItems = "decide"
    seed: Seed = 0

    @model_validator(mode="after")
    def _one_source(self) -> EvaluateSettings:
        given = [n for n in ("judged", "qrels", "labels", "neighbours") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"say what is right by exactly one of judged, qrels, labels, neighbours; came {given}")
        if (self.clicks or self.slices) and self.judged is None and (self.clicks or self.labels is None):
            raise ValueError(
                "clicks names a column of the judged pairs, and slices name columns of these or of the labels"
            )
        return self

    @model_validator(mode="after")
    def _known(self) -> EvaluateSettings:
        names = ("text", "image", "query", "document", "id", "label", "score", "title", "query_title")
        require_column_keys(self.columns, names)
        scope = Scope(metrics=self.metrics, cells=self.cells or ())
        cells = (OLD, UPGRADED, BACKFILLED, "naive", *(MORE_CELLS if self.cells is None else self.cells))
        for gate in map(parse_gate, self.gates):
            self._require_measured(gate, scope.deepest, cells)
        return self

    def _require_measured(self, gate: Gate, deepest: int, cells: tuple[str, ...]) -> None:
        """Noticed now, not after hours of encoding."""
        if gate.metric not in FLIP_RATES:
            wanted = measure(gate.metric)
            if wanted.k > deepest or (gate.metric == FULL and FULL not in self.metrics):
                kept = (
                    f"hits are kept down to {deepest}, the largest k of metrics" if wanted.k else "it is not measured"
                )
                raise ValueError(f"gate {gate.text!r}: {kept}; put {gate.metric} into metrics, before the last")
        for cell in (gate.cell, gate.against):
            if cell is not None and cell not in cells:
                raise ValueError(f"gate {gate.text!r}: there is no cell {cell!r}; there are {', '.join(cells)}")


class Settings(Strict):
    """The whole settings file of ``embridge fit`` and ``evaluate``.

    Paths, those of models' folders too, are relative to its folder.

    Attributes:
        old: The model of the stored vectors.
        new: The model that takes its place.
        new_without_lora: The new model without the LoRA of the upgrade, where ``new`` is files of vectors with it.
        fit: How the bridge is fitted.
        evaluate: What the upgrade is judged by.
        upgrade: The folder of the upgrade.
        report: The file of the report; the page and the table of values lie beside it.
        engine: Workers that read and search galleries and encode captions; this process does it where None.

    Examples:
        >>> settings = Settings.model_validate({"old": "clip:models/old", "new": "clip:models/new"})
        >>> settings.with_fit(method="procrustes").fit.method
        'procrustes'
    """

    renamed: ClassVar[dict[str, str]] = {"native": "new_without_lora"}

    old: OldModelSettings
    new: ModelSettings
    new_without_lora: ModelSettings | None = None
    fit: FitSettings = FitSettings()
    evaluate: EvaluateSettings | None = None
    upgrade: Path = Path("upgrade")
    report: Path = Path("report.json")
    engine: EngineSection | None = None

    @model_validator(mode="after")
    def _from_a_store(self) -> Settings:
        if self.old.store is None:
            return self
        if self.new.encoder is None:
            raise ValueError("new: a store's items are encoded by the new model; name it in new.encoder")
        if self.fit.captions is not None or self.fit.weigh_repeats:
            raise ValueError(
                "fit: the store in old.store has the items to fit on; leave out captions and weigh_repeats"
            )
        return self

    @field_validator("report")
    @classmethod
    def _json(cls, value: Path) -> Path:
        if value.suffix != ".json":
            raise ValueError(
                f"a report's name ends in .json, for the files beside it are named after it; came {value.name}"
            )
        return value

    def with_fit(self, *, method: str | None = None, finetune_pairs: Path | None = None) -> Settings:
        """The same settings with another method, which has its own defaults, or other image-text pairs to finetune on."""
        changes: dict[str, Any] = {} if finetune_pairs is None else {"finetune_pairs": finetune_pairs.resolve()}
        if method is not None and method != self.fit.method:
            changes |= {"method": method, "settings": {}}
        return self.model_copy(update={"fit": self.fit.model_copy(update=changes)})


def load_settings(path: Path | str) -> Settings:
    """Read and check a settings file of ``embridge fit`` and ``evaluate``.

    Args:
        path: The YAML file.

    Returns:
        The settings, with every path absolute.

    Raises:
        SettingsError: Something in it is wrong; the message names every such key.

    Examples:
        >>> _ = Path("settings.yaml").write_text("old: http:a@https://a.example/v1\\nnew: http:b@https://b.example/v1\\n")
        >>> load_settings("settings.yaml").new.encoder
        'http:b@https://b.example/v1'
    """
    return read_settings(path, Settings)


def store_settings(store: str, new: str, *, upgrade: Path | str, space: str | None = None) -> Settings:
    """The settings of the shortest way to an upgrade: one store, one new model.

    Args:
        store: The URL of the store with the old vectors.
        new: The new model, named as `embridge.encoders.load` takes it.
        upgrade: The folder to write.
        space: The id or the model of the old space, where the store holds several.

    Returns:
        The settings, with every path absolute.

    Raises:
        SettingsError: The URL or the model cannot be one.

    Examples:
        >>> store_settings("lancedb:shop#items", "http:b@https://b.example/v1", upgrade="upgrade").fit.method
        'choose'
    """
    old = {"store": store} | ({} if space is None else {"space": space})
    values = {"old": old, "new": new, "upgrade": str(upgrade)}
    return checked_settings(values, Settings, folder=Path.cwd(), where="--store, --new")
