"""Opening an engine by its name: ``local``, ``local:4``, ``ray:local`` or ``ray:ADDRESS``."""

from __future__ import annotations

from dataclasses import dataclass

from embridge.errors import InvalidInput, SettingsError
from embridge.scale.engine import Engine, SerialEngine

__all__ = ["EngineSettings", "open_engine", "require_engine_name"]

_FORMS = (
    "local for this process, local:N for N processes, ray:local for a cluster of this machine alone, or ray:ADDRESS, "
    "such as ray:10.0.0.1:6379"
)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What workers get, and what may happen to them.

    Attributes:
        workers: How many there are on Ray; as many as the cluster has room for where None. ``local:N`` says it itself.
        cpus: Of each worker: what Ray sets aside, and threads for products of matrices.
        gpus: Of each worker on Ray; a part, such as 0.5, lets two share one.
        memory_gb: Of each worker on Ray, in 10⁹ bytes: how much is set aside, so that no more share a machine than fit.
        in_flight: Shards that a worker has at once: one that it does, and others that wait there.
        retries: How often a shard is done again because its worker died.
        logs: Whether what workers print goes to stderr.

    Raises:
        InvalidInput: A number is out of range.

    Examples:
        >>> EngineSettings(workers=4, gpus=0.5).cpus
        1
    """

    workers: int | None = None
    cpus: int = 1
    gpus: float = 0.0
    memory_gb: float = 0.0
    in_flight: int = 1
    retries: int = 3
    logs: bool = False

    def __post_init__(self) -> None:
        for name in ("workers", "cpus", "in_flight"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInput(f"{name} is at least 1, came {value}")
        for name in ("retries", "gpus", "memory_gb"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InvalidInput(f"{name} is 0 or more, came {getattr(self, name)}")


def open_engine(name: str = "local", settings: EngineSettings | None = None) -> Engine:
    """Open an engine; no worker is started before there is work.

    Args:
        name: ``local``, ``local:N``, ``ray:local`` or ``ray:ADDRESS``.
        settings: What workers get; their defaults where None.

    Returns:
        The engine. Close it, or use it in a ``with``.

    Raises:
        SettingsError: It is no such name.
        MissingExtra: It is Ray's, which is not installed.
        WorkerError: Ray's cluster cannot be reached.

    Examples:
        >>> open_engine("local:2").workers
        2
        >>> open_engine("remote")
        Traceback (most recent call last):
        embridge.errors.SettingsError: an engine is local for this process, ... came remote
    """
    settings = settings or EngineSettings()
    require_engine_name(name)
    kind, _, place = name.partition(":")
    if not place:
        return SerialEngine()
    if kind == "local":
        from embridge.scale.local import LocalEngine

        return LocalEngine(int(place), settings.in_flight, settings.retries, settings.cpus, settings.logs)
    from embridge.scale.ray import open_ray

    return open_ray(place, settings)


def require_engine_name(name: str) -> None:
    """Raise an error unless an engine can have this name.

    Args:
        name: As of `open_engine`.

    Raises:
        SettingsError: It can not.

    Examples:
        >>> require_engine_name("local:4")
    """
    kind, _, place = name.partition(":")
    counted = place.isascii() and place.isdigit() and int(place) > 0
    if not (name == "local" or (kind == "local" and counted) or (kind == "ray" and place)):
        raise SettingsError(f"an engine is {_FORMS}; came {name}")
