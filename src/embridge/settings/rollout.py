"""One YAML file says which store is taken to which model, and how fast; unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from embridge.items import ItemSource
from embridge.rollout.gates import needs_report
from embridge.rollout.quality import deepest_of
from embridge.settings._seed import Seed
from embridge.settings.engine import EngineSection
from embridge.settings.models import ModelSettings
from embridge.settings.reading import Strict, read_settings, require_files
from embridge.stores import parse_url

__all__ = ["RolloutSettings", "ShadowSettings", "load_rollout_settings"]


class ShadowSettings(Strict):
    """Which queries are asked both ways before anybody sees the new model's answers.

    Attributes:
        share: Of an application's queries, those that are asked through the bridge too.
        queries: A file of queries that ``embridge shadow`` asks both ways.
        judged: A table of judged queries, columns ``query`` and ``document``, which holds ids of rows.
        metrics: What they are judged by; the last one decides.
        k: How many hits are compared.
        old: The old model, if it is not the one that the store's declaration or the upgrade names.

    Examples:
        >>> ShadowSettings().share
        0.1
    """

    share: float = Field(default=0.1, gt=0, le=1)
    queries: Path | None = None
    judged: Path | None = None
    metrics: tuple[str, ...] = Field(default=("recall_at_10", "ndcg_at_10"), min_length=1)
    k: int = Field(default=10, ge=1)
    old: ModelSettings | None = None

    @field_validator("metrics")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        deepest_of(value)
        return value


class RolloutSettings(Strict):
    """How a store is taken from its old model to a new one.

    Attributes:
        store: The store's URL.
        declarations: A file of declarations, in place of those in the database.
        old: The id of the old space, where the store holds several.
        upgrade: The folder of the upgrade.
        new: The new model, if it is not the one that the upgrade was fitted with.
        items: Where items come from, if not as the store's declaration says: ``text``, ``image``, ``folder`` or ``url``.
        order: Which rows are encoded first: in the store's order, at random, what people look for, what a bridge is least
            sure of, or what is farthest from its cluster.
        log: A file with an id a line, one for each time an item was found or looked at; of ``popularity``.
        uncertainty: The folder of an upgrade that says how uncertain it is of the old rows; of ``uncertainty``.
        clusters: How many there are; of ``cluster``.
        seed: Of the random order, of the clusters, and of the sample that a plan encodes.
        batch_rows: Rows that are encoded and written at once; None for 256 to 16,384, by how long they take.
        engine: Which workers do that, and what each gets.
        rows_per_second: At most; None for as many as go.
        rest: How many times as long as the database was at work for a batch is waited after it, while others are connected to it.
        price: Of an encoded item, in whatever currency.
        spend_cap: The backfill stops before more than this is spent; None for no cap.
        most_failed: The share of the rows whose items may be unreadable; the backfill stops when there are more.
        backfill_on_read: While the backfill goes on, how many of the bridge's best items a query encodes at once, whose vectors
            are kept; 0 for none.
        canary: The share of queries of new clients that the new model answers.
        shadow: Which queries are asked both ways before that.
        gates: What must hold before the new model answers; see `embridge.rollout.gates`.
        report: The report that gates are on, as ``embridge evaluate`` wrote it.
        sample: Items that a plan encodes to measure the time.

    Examples:
        >>> RolloutSettings(store="lancedb:shop", upgrade="upgrade").order
        'store'
    """

    store: str = Field(repr=False)  # it may hold a password
    declarations: Path | None = None
    old: str | None = None
    upgrade: Path
    new: ModelSettings | None = None
    items: dict[str, str] = Field(default_factory=dict)
    order: Literal["store", "random", "popularity", "uncertainty", "cluster"] = "store"
    log: Path | None = None
    uncertainty: Path | None = None
    clusters: int = Field(100, ge=1)
    seed: Seed = 0
    batch_rows: int | None = Field(None, ge=1)
    engine: EngineSection = EngineSection()
    rows_per_second: float | None = Field(None, gt=0, allow_inf_nan=False)
    rest: float = Field(2.0, ge=0, allow_inf_nan=False)
    price: float = Field(0.0, ge=0, allow_inf_nan=False)
    spend_cap: float | None = Field(None, gt=0, allow_inf_nan=False)
    most_failed: float = Field(0.05, ge=0, le=1)
    backfill_on_read: int = Field(0, ge=0)
    canary: float = Field(1.0, gt=0, le=1)
    shadow: ShadowSettings = ShadowSettings()
    gates: tuple[str, ...] = ()
    report: Path | None = None
    sample: int = Field(64, ge=1)

    @field_validator("store")
    @classmethod
    def _is_url(cls, value: Any) -> Any:
        parse_url(value)
        return value

    @model_validator(mode="after")
    def _fits(self) -> RolloutSettings:
        if (self.order == "popularity") != (self.log is not None):
            raise ValueError("order: popularity goes by a log of ids, and nothing else takes one; name it in log")
        if (self.order == "uncertainty") != (self.uncertainty is not None):
            raise ValueError(
                "order: uncertainty goes by an upgrade that says how uncertain it is (method: fastfill), and nothing else takes "
                "one; name its folder in uncertainty"
            )
        on_report = [gate for gate in self.gates if needs_report(gate)]
        if on_report and self.report is None:
            raise ValueError(
                f"gate {on_report[0]!r} is on a report; name the one that embridge evaluate wrote in report"
            )
        if self.items:
            ItemSource.from_dict(self.items)
        return self


def load_rollout_settings(path: Path | str, *, files: bool = True) -> RolloutSettings:
    """Read a rollout's settings.

    Args:
        path: The YAML file. Paths in it count from its folder, those of the store and the items too.
        files: Whether the files that it names have to be there.

    Returns:
        The settings.

    Raises:
        SettingsError: The file does not say what it must, or names a file that is not there.

    Examples:
        >>> _ = Path("rollout.yaml").write_text("store: lancedb:shop\\nupgrade: .\\n")
        >>> load_rollout_settings("rollout.yaml").sample
        64
    """
    settings = read_settings(path, RolloutSettings)
    if files:
        require_files(settings, "upgrade", "log", "uncertainty", "shadow.queries", "shadow.judged")
    if "folder" in settings.items:
        folder = str(Path(path).resolve().parent / settings.items["folder"])
        settings = settings.model_copy(update={"items": settings.items | {"folder": folder}})
    return settings
