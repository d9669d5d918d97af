"""Versions in a row, measured: the report of every version on every older one, and the matrix of a sequence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from embridge.adapters.base import Adapter
from embridge.adapters.chain import Chain
from embridge.errors import InvalidInput
from embridge.evaluation.evaluate import evaluate
from embridge.evaluation.relevance import AnyRelevance
from embridge.evaluation.report import BACKFILLED, OLD, UPGRADED, Report
from embridge.evaluation.scope import Scope
from embridge.evaluation.sequences import sequence_matrix
from embridge.evaluation.sides import Side
from embridge.progress import Progress, silent
from embridge.shapes import Float64
from embridge.space import require_same

__all__ = ["chain_reports", "compatibility_matrices"]


def chain_reports(
    chain: Chain,
    sides: Sequence[Side],
    relevance: AnyRelevance,
    *,
    scope: Scope | None = None,
    progress: Progress = silent,
) -> Iterator[tuple[int, int, Report]]:
    """Measure every version t on every older version s, as `embridge.evaluation.evaluate` measures an upgrade.

    Args:
        chain: The versions.
        sides: The same queries and gallery as each version's encoder sees them, the oldest first.
        relevance: Which rows are right for which query.
        scope: What is measured; see `evaluate`.
        progress: Called after each pair of versions.

    Yields:
        t, s and the report of version t on version s.

    Raises:
        InvalidInput: There is not one side for each version.
        SpaceMismatch: A side is of another model.

    Examples:
        >>> from embridge import Embeddings, Space, Upgrade
        >>> from embridge.adapters import Identity, Prefix
        >>> from embridge.evaluation import LabelRelevance
        >>> from embridge.provenance import Provenance
        >>> new, old = Space("model", "1", 3), Space("model", "0", 2)
        >>> chain = Chain([Upgrade(Identity(new, new), Prefix(new, old), Provenance("oca"))])
        >>> rows = Embeddings.of(np.eye(4, 3, k=-1, dtype=np.float32) + 1, new)
        >>> before = rows.with_vectors(rows.vectors[:, :2].copy(), old)
        >>> labels = dict(zip(rows.ids, "abab"))
        >>> reports = chain_reports(chain, [Side(before, before), Side(rows, rows)], LabelRelevance(labels, labels))
        >>> [(t, s) for t, s, report in reports]
        [(1, 0)]
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
    """Arrange the reports of a chain as matrices C[t, s]: queries of version t on the gallery of version s ≤ t.

    Self-tests stand on the diagonal, cross-tests below, NaN above. `embridge.evaluation.average_compatibility` (with a word on
    ties), `average_accuracy` and the other figures of a sequence take such a matrix.

    Args:
        reports: All that `chain_reports` gives.

    Returns:
        A matrix by direction and metric.

    Examples:
        >>> from embridge import Embeddings, Space, Upgrade
        >>> from embridge.adapters import Identity, Prefix
        >>> from embridge.evaluation import LabelRelevance
        >>> from embridge.provenance import Provenance
        >>> new, old = Space("model", "1", 3), Space("model", "0", 2)
        >>> chain = Chain([Upgrade(Identity(new, new), Prefix(new, old), Provenance("oca"))])
        >>> rows = Embeddings.of(np.array([[1, 0.5, 0], [1, 0.4, 1], [1, 0.6, 0], [1, 0.3, 1]], np.float32), new)
        >>> before = rows.with_vectors(rows.vectors[:, :2].copy(), old)
        >>> labels = dict(zip(rows.ids, "abab"))
        >>> scope = Scope(metrics=["cmc_at_1"], directions=[""])
        >>> sides = [Side(before, before), Side(rows, rows)]
        >>> reports = chain_reports(chain, sides, LabelRelevance(labels, labels), scope=scope)
        >>> compatibility_matrices(reports)[""]["cmc_at_1"].tolist()
        [[0.75, nan], [0.75, 1.0]]
    """
    triangles: dict[tuple[str, str], list[list[float]]] = {}
    for t, s, report in reports:
        for direction in report.directions:
            for metric in report.metrics:
                rows = triangles.setdefault((direction, metric), [[report.mean(direction, OLD, metric)]])
                if s == 0:
                    rows.append([])
                rows[t].append(report.mean(direction, UPGRADED, metric))
                if s == t - 1:
                    rows[t].append(report.mean(direction, BACKFILLED, metric))
    matrices: dict[str, dict[str, Float64[np.ndarray, "t t"]]] = {}
    for (direction, metric), rows in triangles.items():
        matrices.setdefault(direction, {})[metric] = sequence_matrix(rows)
    return matrices


def _written(side: Side, head: Adapter | None) -> Side:
    """What a version writes and asks its own gallery with."""
    if head is None:
        return side
    gallery = head(side.gallery)
    return Side(gallery if side.queries is side.gallery else head(side.queries), gallery)
