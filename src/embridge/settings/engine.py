"""What a settings file says of workers: where they run, and what each gets."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from embridge.scale import Engine, EngineSettings, open_engine
from embridge.scale.engines import require_engine_name
from embridge.settings.reading import Strict

__all__ = ["EngineSection"]


class EngineSection(Strict):
    """Where work is done that goes shard by shard; a text alone is the name.

    Attributes:
        name: ``local`` for this process, ``local:N`` for N processes, ``ray:local`` or ``ray:ADDRESS``.
        workers: How many there are on Ray; as many as the cluster has room for where None.
        cpus: Of each worker.
        gpus: Of each worker on Ray; a part, such as 0.5, lets two share one.
        memory_gb: Of each worker on Ray, in 10⁹ bytes.
        in_flight: Shards that a worker has at once.
        retries: How often a shard is done again because its worker died.

    Examples:
        >>> EngineSection.model_validate("local:4").name
        'local:4'
    """

    name: str = "local"
    workers: int | None = Field(default=None, ge=1)
    cpus: int = Field(default=1, ge=1)
    gpus: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    memory_gb: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    in_flight: int = Field(default=1, ge=1)
    retries: int = Field(default=3, ge=0)

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        require_engine_name(value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    def opened(self, name: str | None = None, *, logs: bool = False) -> Engine:
        """Open it; see `embridge.scale.open_engine`.

        Args:
            name: In place of the section's.
            logs: Whether what workers print goes to stderr.

        Returns:
            The engine.

        Raises:
            SettingsError: It is no such name.
            MissingExtra: It is Ray's, which is not installed.
            WorkerError: Ray's cluster cannot be reached, or has no room for one worker.
        """
        values = self.model_dump(exclude={"name"})
        return open_engine(self.name if name is None else name, EngineSettings(**values, logs=logs))
