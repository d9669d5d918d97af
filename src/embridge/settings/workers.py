"""What a settings file says of the workers that its work is done by."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from embridge.scale import Engine, EngineSettings, open_engine
from embridge.scale.engines import require_engine_name
from embridge.settings.reading import Strict

__all__ = ["WorkersSettings"]


class WorkersSettings(Strict):
    """An engine, and what each of its workers gets; its name alone stands for the section.

    Attributes:
        name: ``local``, ``local:N``, ``ray:local`` or ``ray:ADDRESS``, see `embridge.scale.open_engine`.
        workers: How many there are on Ray; as many as the cluster has room for where None.
        cpus: Processors and threads of each.
        gpus: Of each, on Ray.
        in_flight: Shards that each has at once.
        retries: How often a shard is done again because its worker died.
        logs: Whether what workers print is shown on stderr.

    Examples:
        >>> WorkersSettings.model_validate("local:2").name
        'local:2'
    """

    name: str = "local"
    workers: int | None = Field(default=None, ge=1)
    cpus: int = Field(default=1, ge=1)
    gpus: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    in_flight: int = Field(default=1, ge=1)
    retries: int = Field(default=3, ge=0)
    logs: bool = False

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _is_name(cls, value: str) -> str:
        require_engine_name(value)
        return value

    def open(self) -> Engine:
        """The engine; see `embridge.scale.open_engine`."""
        return open_engine(self.name, EngineSettings(**self.model_dump(exclude={"name"})))
