"""How the processes of a training on several devices are started: one record a strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from embridge.errors import SettingsError

__all__ = ["STRATEGIES", "Strategy", "strategy_of"]


@dataclass(frozen=True, slots=True)
class Strategy:
    """How Lightning starts a process for each device.

    Attributes:
        start_method: ``popen`` runs the script again for each device, also under torchrun and SLURM; ``spawn`` and ``fork``
            start functions, which a notebook, a test or a command needs.

    Examples:
        >>> Strategy("fork").runs_script_again
        False
    """

    start_method: Literal["popen", "spawn", "fork"]

    @property
    def runs_script_again(self) -> bool:
        """Whether each process runs the whole script; where not, it ends with the training, and the checkpoint has the rest."""
        return self.start_method == "popen"


STRATEGIES: dict[str, Strategy] = {
    "auto": Strategy("popen"),
    "ddp": Strategy("popen"),
    "ddp_spawn": Strategy("spawn"),
    "ddp_fork": Strategy("fork"),
}


def strategy_of(name: str) -> Strategy:
    """Find the strategy of a name.

    Args:
        name: One of `STRATEGIES`.

    Returns:
        Its record.

    Raises:
        SettingsError: There is no such strategy.

    Examples:
        >>> strategy_of("ddp_fork").start_method, strategy_of("auto").runs_script_again
        ('fork', True)
    """
    if name not in STRATEGIES:
        raise SettingsError(f"strategy is one of {', '.join(STRATEGIES)}, came {name!r}")
    return STRATEGIES[name]
