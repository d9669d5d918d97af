"""Chain: versions of a model, each trained beside the one before it; the newest of them searches galleries of any age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from embridge.adapters.base import Adapter
from embridge.adapters.composed import Composed
from embridge.adapters.prefix import Prefix
from embridge.adapters.upgrade import MANIFEST, Upgrade
from embridge.errors import SettingsError, SpaceMismatch, WrongDirection
from embridge.provenance import Provenance
from embridge.space import Space

__all__ = ["UPGRADE", "Chain"]

UPGRADE = "upgrade"
"""The folder of an upgrade below that of the model which it belongs to."""


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Versions 0, 1, 2, …: ``links[t - 1]`` joins version t with version t − 1, beside which it was trained.

    A query of version t meets rows of version s through all bridges between, one after the other. Trained with OCA (Ricci et
    al. 2024) or BT² (Zhou, Li et al. 2023), a version has the whole vector of the one before at its front, so prefixes nest
    and the way is one cut. With BCT, NDPP and ODPP vectors stay as long as they are, and the cut leaves them as they are. Any
    other backward bridges are composed. How good a version still is on a gallery two versions back was not trained for;
    `embridge.evaluation.chains.compatibility_matrices` shows it.

    Attributes:
        links: The upgrades, oldest first.

    Raises:
        SettingsError: There are no links, or a space comes twice.
        WrongDirection: A link is a forward upgrade.
        SpaceMismatch: A link does not begin at the version that the one before it made.

    Examples:
        >>> import numpy as np
        >>> from embridge.adapters import Identity
        >>> first, second, third = (Space("model", str(t), 2 + t) for t in range(3))
        >>> links = [Upgrade(Identity(n, n), Prefix(n, o), Provenance("oca")) for n, o in ((second, first), (third, second))]
        >>> chain = Chain(links)
        >>> chain.upgrade(0).bridge.apply(np.array([[0, 2, 5, 7]], np.float32)).tolist()
        [[0.0, 1.0]]
        >>> chain.upgrade(first, new=second) is links[0]
        True
    """

    links: Sequence[Upgrade]

    def __post_init__(self) -> None:
        object.__setattr__(self, "links", tuple(self.links))
        if not self.links:
            raise SettingsError("a chain has at least one upgrade, from a second version to the first; came none")
        for number, link in enumerate(self.links, 1):
            if link.direction != "backward":
                raise WrongDirection(
                    f"link {number} of the chain is a {link.direction} upgrade; newer queries search older galleries by "
                    "backward ones"
                )
        for number, (before, after) in enumerate(pairwise(self.links), 1):
            if after.old_space != before.bridge.source:
                raise SpaceMismatch(
                    f"link {number} of the chain makes {before.bridge.source}, and link {number + 1} is on an index of "
                    f"{after.old_space}; give the upgrades oldest first, each trained beside the model of the one before"
                )
        twice = [space for space in self.spaces if self.spaces.count(space) > 1]
        if twice:
            raise SettingsError(f"a chain has each version once; {twice[0]} comes twice")

    @classmethod
    def load(cls, folders: Sequence[Path | str]) -> Chain:
        """Load a chain from the folders of its upgrades, or of models that were saved with theirs.

        The first version has no upgrade, so two folders are of three versions.

        Args:
            folders: The oldest first.

        Returns:
            The chain.

        Raises:
            ArtefactError: A folder holds no upgrade.
        """
        return cls([_loaded(Path(folder)) for folder in folders])

    @property
    def spaces(self) -> tuple[Space, ...]:
        """Where the rows of each version lie, the oldest first."""
        return (self.links[0].old_space, *(link.bridge.source for link in self.links))

    def __len__(self) -> int:
        """How many versions there are, one more than links."""
        return len(self.links) + 1

    def number(self, version: int | Space) -> int:
        """Number a version.

        Args:
            version: Its number or its space.

        Returns:
            Its number, counted from the oldest.

        Raises:
            SettingsError: There is no version of that number.
            SpaceMismatch: No version makes that space.
        """
        if isinstance(version, Space):
            if version not in self.spaces:
                raise SpaceMismatch(
                    f"no version of this chain makes {version}; they make {', '.join(map(str, self.spaces))}"
                )
            return self.spaces.index(version)
        if not 0 <= version < len(self):
            raise SettingsError(f"there is no version {version} in this chain; there are 0 to {len(self) - 1}")
        return version

    def upgrade(self, old: int | Space, *, new: int | Space | None = None) -> Upgrade:
        """Join a version with an older one; the upgrade of neighbours is their link itself.

        Args:
            old: The older version, by its number or space.
            new: The newer one; the newest where None.

        Returns:
            The upgrade of the newer one on an index of the older.

        Raises:
            WrongDirection: ``new`` is not newer than ``old``.
        """
        first, last = self.number(old), len(self) - 1 if new is None else self.number(new)
        if last <= first:
            raise WrongDirection(
                f"version {last} is to search a gallery of version {first}: "
                + ("its own, which needs no upgrade" if last == first else "the older one searches no newer gallery")
            )
        between = self.links[first:last]
        if len(between) == 1:
            return between[0]
        bridge = _joined([link.bridge for link in reversed(between)])
        return replace(between[-1], bridge=bridge, provenance=_provenance(between), uncertainty=None)


def _loaded(folder: Path) -> Upgrade:
    below = folder / UPGRADE
    return Upgrade.load(below if (below / MANIFEST).is_file() and not (folder / MANIFEST).is_file() else folder)


def _joined(bridges: Sequence[Adapter]) -> Adapter:
    """All of them, the first applied first; cuts of cuts are one cut."""
    if all(isinstance(bridge, Prefix) for bridge in bridges):
        return Prefix(bridges[0].source, bridges[-1].target)
    return Composed(bridges)


def _provenance(links: Sequence[Upgrade]) -> Provenance:
    """Where a way over several links comes from: all of them, the oldest first."""
    first, last = links[0].provenance, links[-1].provenance
    ways = [{"method": p.method, "settings": dict(p.settings), "seed": p.seed} for p in (x.provenance for x in links)]
    ends = (("old", first), ("new", last))
    encoders = {side: source.encoders[side] for side, source in ends if side in source.encoders}
    return Provenance("chain", {"links": ways}, last.seed, last.data, last.versions, {}, encoders)
