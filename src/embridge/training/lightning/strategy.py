"""How Lightning starts the processes of a training on several devices."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.strategies import DDPStrategy

from embridge.errors import SettingsError

__all__ = ["STARTED_ANEW", "STRATEGIES", "strategy_of"]

STRATEGIES = {"auto": "popen", "ddp": "popen", "ddp_spawn": "spawn", "ddp_fork": "fork"}
STARTED_ANEW = frozenset({"ddp_spawn", "ddp_fork"})
"""Those whose processes end with the training, so that what was learnt is read from the checkpoint."""


def strategy_of(name: str, devices: int) -> Any:
    """Lightning's strategy: ``ddp`` runs the script again for each device (also under torchrun and SLURM), ``ddp_spawn``
    and ``ddp_fork`` start functions, which a notebook or a test needs. Raises `SettingsError` for another name.

    >>> strategy_of("auto", 1)
    'auto'
    """
    if name not in STRATEGIES:
        raise SettingsError(f"strategy is one of {', '.join(STRATEGIES)}, came {name!r}")
    return "auto" if devices == 1 else _Unwrapped(start_method=STRATEGIES[name])


class _Unwrapped(DDPStrategy):  # type: ignore[misc]
    """Without torch's wrapper, which takes one forward of one module; the loop averages the gradients itself."""

    def configure_ddp(self) -> None:
        pass
