"""One YAML file says which store is taken to which model, and how fast; unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from embridge.items import ItemSource
from embridge.settings._seed import Seed
from embridge.settings.models import ModelSettings
from embridge.settings.reading import Strict, read_settings, require_files
from embridge.stores import parse_url

__all__ = ["RolloutSettings", "load_rollout_settings"]


class RolloutSettings(Strict):
    """How a store is taken from its old model to a new one.

    Attributes:
        store: The store's URL.
        declarations: A file of declarations, in place of those in the database.
        old: The id of the old space, where the store holds several.
        upgrade: The folder of the upgrade.
        new: The new model, if it is not the one that the upgrade was fitted with.
        items: Where items come from, if not as the store's declaration says: ``text``, ``image``, ``folder`` or ``url``.
        order: Which rows are encoded first: in the store's order, at random, or what people look for.
        log: A file with an id a line, one for each time an item was found or looked at; of ``popularity``.
        seed: Of the random order, and of the sample that a plan encodes.
        batch_rows: Rows that are encoded and written at once.
        rows_per_second: At most; None for as many as go.
        price: Of an encoded item, in whatever currency.
        spend_cap: The backfill stops before more than this is spent; None for no cap.
        most_failed: The share of the rows whose items may be unreadable; the backfill stops when there are more.
        backfill_on_read: While the backfill goes on, how many of the bridge's best items a query encodes at once, whose vectors
            are kept; 0 for none.
        canary: The share of queries of new clients that the new model answers.
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
    order: Literal["store", "random", "popularity"] = "store"
    log: Path | None = None
    seed: Seed = 0
    batch_rows: int = Field(256, ge=1)
    rows_per_second: float | None = Field(None, gt=0)
    price: float = Field(0.0, ge=0)
    spend_cap: float | None = Field(None, gt=0)
    most_failed: float = Field(0.05, ge=0, le=1)
    backfill_on_read: int = Field(0, ge=0)
    canary: float = Field(1.0, gt=0, le=1)
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
        if self.items:
            ItemSource.from_dict(self.items)
        return self


def load_rollout_settings(path: Path | str) -> RolloutSettings:
    """Read a rollout's settings.

    Args:
        path: The YAML file. Paths in it count from its folder, those of the store and the items too.

    Returns:
        The settings.

    Raises:
        SettingsError: The file does not say what it must, or names a file that is not there.

    Examples:
        >>> _ = Path("rollout.yaml").write_text("store: lancedb:shop\\nupgrade: .\\n")
        >>> load_rollout_settings("rollout.yaml").batch_rows
        256
    """
    settings = read_settings(path, RolloutSettings)
    require_files(settings, "upgrade", "log")
    if "folder" in settings.items:
        folder = str(Path(path).resolve().parent / settings.items["folder"])
        settings = settings.model_copy(update={"items": settings.items | {"folder": folder}})
    return settings
