"""Chain: versions of a model, each trained beside the one before it; the newest of them searches galleries of any age."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from embridge.adapters.base import Adapter
from embridge.adapters.composed import Composed
from embridge.adapters.prefix import Prefix
from embridge.adapters.upgrade import MANIFEST, Upgrade
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch, WrongDirection
from embridge.evaluation.evaluate import evaluate
from embridge.evaluation.relevance import AnyRelevance
from embridge.evaluation.report import BACKFILLED, OLD, UPGRADED, Report
from embridge.evaluation.scope import Scope
from embridge.evaluation.sequences import sequence_matrix
from embridge.evaluation.sides import Side
from embridge.progress import Progress, silent
from embridge.provenance import Provenance
from embridge.shapes import Float64
from embridge.space import Space, require_same

__all__ = ["Chain", "chain_reports", "compatibility_matrices"]

_OWN_UPGRADE = "upgrade"  # where `embridge.training.compatible.trained.Trained.save` puts it


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Versions 0, 1, 2, …: ``links[t - 1]`` joins version t with version t − 1, beside which it was trained.

    A query of version t meets rows of version s through all bridges between, one after the other. Trained with OCA (Ricci et
    al. 2024) or BT² (Zhou, Li et al. 2023), a version has the whole vector of the one before at its front, so prefixes nest
    and the way is one cut. With BCT, NDPP and ODPP vectors stay as long as they are, and the cut leaves them as they are. Any
    other backward bridges are composed. How good a version still is on a gallery two versions back was not trained for;
    `compatibility_matrices` shows it.

    Raises `SettingsError` for no links and for a space that comes twice, `WrongDirection` for a forward upgrade, and
    `SpaceMismatch` where a link does not begin at the version that the one before it made.

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
        """From the folders of the upgrades, oldest first; or of models that were saved with theirs.

        The first version has no upgrade, so two folders are of three versions. Raises `ArtefactError` for a folder that holds
        no upgrade.
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
        """Of a version by its number or by its space; raises `SettingsError` or `SpaceMismatch` where it is none of these."""
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
        """From a version, the newest by default, to an older one, by their numbers or spaces.

        That of neighbours is their link itself. Raises `WrongDirection` unless ``new`` is newer than ``old``.
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


def chain_reports(
    chain: Chain,
    sides: Sequence[Side],
    relevance: AnyRelevance,
    *,
    scope: Scope | None = None,
    progress: Progress = silent,
) -> Iterator[tuple[int, int, Report]]:
    """(t, s, report) of every version t on every older version s, as `embridge.evaluation.evaluate` measures an upgrade.

    sides: the same queries and gallery as each version's encoder sees them, the oldest first. Raises `InvalidInput` for
    another number of sides, and `SpaceMismatch` for one of another model.
    """
    if len(sides) != len(chain):
        raise InvalidInput(f"the chain has {len(chain)} versions, and {len(sides)} sides came; give one for each")
    encoded = (chain.spaces[0], *(link.new_space for link in chain.links))
    for version, (space, side) in enumerate(zip(encoded, sides, strict=True)):
        require_same(space, side.queries.space, what=f"the side of version {version}")
    heads = (None, *(link.head for link in chain.links))
    rows = [_written(side, head) for side, head in zip(sides, heads, strict=True)]
    pairs = [(t, s) for t in range(len(chain)) for s in range(t)]
    for done, (t, s) in enumerate(pairs, 1):
        yield t, s, evaluate(rows[s], sides[t], chain.upgrade(s, new=t), relevance, scope=scope)
        progress(done, len(pairs), "pairs of versions")


def compatibility_matrices(
    reports: Iterable[tuple[int, int, Report]],
) -> dict[str, dict[str, Float64[np.ndarray, "t t"]]]:
    """``[direction][metric]``: C[t, s], queries of version t on the gallery of version s ≤ t, from all of `chain_reports`.

    Self-tests stand on the diagonal, cross-tests below, NaN above. `embridge.evaluation.average_compatibility` (with a word on
    ties), `average_accuracy` and the other figures of a sequence take such a matrix.

    >>> from embridge import Embeddings
    >>> from embridge.adapters import Identity
    >>> from embridge.evaluation import LabelRelevance
    >>> new, old = Space("model", "1", 3), Space("model", "0", 2)
    >>> chain = Chain([Upgrade(Identity(new, new), Prefix(new, old), Provenance("oca"))])
    >>> seen = Embeddings.of(np.array([[1, 0.5, 0], [1, 0.4, 1], [1, 0.6, 0], [1, 0.3, 1]], np.float32), new)
    >>> before = seen.with_vectors(seen.vectors[:, :2].copy(), old)
    >>> labels = dict(zip(seen.ids, "abab"))
    >>> scope = Scope(metrics=["cmc_at_1"], directions=[""])
    >>> sides = [Side(before, before), Side(seen, seen)]
    >>> reports = chain_reports(chain, sides, LabelRelevance(labels, labels), scope=scope)
    >>> compatibility_matrices(reports)[""]["cmc_at_1"].tolist()
    [[0.75, nan], [0.75, 1.0]]
    """
    found: dict[tuple[str, str], list[list[float]]] = {}
    for t, s, report in reports:
        for direction in report.directions:
            for metric in report.metrics:
                rows = found.setdefault((direction, metric), [[report.mean(direction, OLD, metric)]])
                if s == 0:
                    rows.append([])
                rows[t].append(report.mean(direction, UPGRADED, metric))
                if s == t - 1:
                    rows[t].append(report.mean(direction, BACKFILLED, metric))
    made: dict[str, dict[str, Float64[np.ndarray, "t t"]]] = {}
    for (direction, metric), rows in found.items():
        made.setdefault(direction, {})[metric] = sequence_matrix(rows)
    return made


def _loaded(folder: Path) -> Upgrade:
    own = folder / _OWN_UPGRADE
    return Upgrade.load(own if (own / MANIFEST).is_file() and not (folder / MANIFEST).is_file() else folder)


def _joined(bridges: Sequence[Adapter]) -> Adapter:
    """All of them, the first applied first; cuts of cuts are one cut."""
    if all(isinstance(bridge, Prefix) for bridge in bridges):
        return Prefix(bridges[0].source, bridges[-1].target)
    return Composed(bridges)


def _written(side: Side, head: Adapter | None) -> Side:
    """What a version writes and asks its own gallery with."""
    if head is None:
        return side
    gallery = head(side.gallery)
    return Side(gallery if side.queries is side.gallery else head(side.queries), gallery)


def _provenance(links: Sequence[Upgrade]) -> Provenance:
    """Where a way over several links comes from: all of them, the oldest first."""
    first, last = links[0].provenance, links[-1].provenance
    made = [{"method": p.method, "settings": dict(p.settings), "seed": p.seed} for p in (x.provenance for x in links)]
    named = (("old", first), ("new", last))
    encoders = {side: source.encoders[side] for side, source in named if side in source.encoders}
    return Provenance("chain", {"links": made}, last.seed, last.data, last.versions, {}, encoders)
