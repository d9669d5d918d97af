import numpy as np
import pytest
from chains import chain_of, rotated, rows_of, version

from embridge import Space, Upgrade
from embridge.adapters import Linear, Prefix
from embridge.adapters.chain import Chain
from embridge.errors import InvalidInput, SpaceMismatch
from embridge.evaluation import LabelRelevance, Scope, Side, average_accuracy, evaluate
from embridge.evaluation.chains import chain_reports, compatibility_matrices
from embridge.nearest import top_k
from embridge.provenance import Provenance

RANDOM = np.random.default_rng(0)
LABELS = {str(i): "abc"[i % 3] for i in range(30)}
RELEVANCE = LabelRelevance(LABELS, LABELS)
SCOPE = Scope(metrics=["cmc_at_1", "map_at_5"], directions=[""])


def matrix_of(chain, sides, relevance=RELEVANCE):
    return compatibility_matrices(chain_reports(chain, sides, relevance, scope=SCOPE))[""]


def test_the_matrix_is_its_naive_loop():
    chain = chain_of((4, 6, 9))
    sides = [Side(rows, rows) for rows in (rows_of(space) for space in chain.spaces)]
    found = matrix_of(chain, sides)
    assert set(found) == {"cmc_at_1", "map_at_5"}
    for t in range(3):
        for s in range(t + 1):
            queries = sides[t].queries.vectors[:, : chain.spaces[s].dim]
            right = 0
            for query, row in enumerate(queries):
                scores = sides[s].gallery.vectors @ (row / np.linalg.norm(row))
                scores[query] = -2
                right += LABELS[str(scores.argmax())] == LABELS[str(query)]
            assert found["cmc_at_1"][t, s] == pytest.approx(right / 30)
    assert np.isnan(found["cmc_at_1"][np.triu_indices(3, 1)]).all()
    assert average_accuracy(found["cmc_at_1"]) == pytest.approx(np.nanmean(found["cmc_at_1"]))


def test_each_pair_is_measured_as_its_upgrade_is():
    chain, calls = chain_of((4, 6, 9), rotated), []
    sides = [Side(rows_of(space, 10, seed=1), rows_of(space)) for space in chain.spaces]
    reports = {
        (t, s): report
        for t, s, report in chain_reports(
            chain, sides, RELEVANCE, scope=SCOPE, progress=lambda *call: calls.append(call)
        )
    }
    assert set(reports) == {(1, 0), (2, 0), (2, 1)}
    alone = evaluate(sides[0], sides[2], chain.upgrade(0), RELEVANCE, scope=SCOPE)
    assert reports[2, 0].figures() == alone.figures()
    assert calls[-1] == (3, 3, "pairs of versions")
    assert len(calls) == 3


def test_heads_write_what_their_version_is_asked_for():
    """Versions that are heads on the vectors of one frozen model: each side is of that model's vectors."""
    frozen, spaces = Space("frozen", "1", 7), [version(number, dim) for number, dim in enumerate((3, 4, 5))]
    heads = [Linear(frozen, s, RANDOM.normal(size=(7, s.dim)).astype(np.float32)) for s in spaces]
    links = [Upgrade(heads[t], Prefix(spaces[t], spaces[t - 1]), Provenance("known")) for t in (1, 2)]
    rows, chain = rows_of(frozen), Chain(links)
    first = heads[0](rows)
    found = matrix_of(chain, [Side(first, first), Side(rows, rows), Side(rows, rows)])
    crossed = top_k(chain.upgrade(0).to_index_space(rows).vectors, first.vectors, 2).rows
    nearest = np.where(crossed[:, 0] == np.arange(30), crossed[:, 1], crossed[:, 0])
    right = np.mean([LABELS[str(a)] == LABELS[str(b)] for a, b in enumerate(nearest)])
    assert found["cmc_at_1"][2, 0] == pytest.approx(right)


def test_sides_of_other_versions_are_refused():
    chain = chain_of((4, 6))
    sides = [Side(rows, rows) for rows in (rows_of(space) for space in chain.spaces)]
    with pytest.raises(InvalidInput, match="the chain has 2 versions, and 1 sides came"):
        matrix_of(chain, sides[:1])
    with pytest.raises(SpaceMismatch, match="the side of version 0: expected vectors of version 0"):
        matrix_of(chain, sides[::-1])
