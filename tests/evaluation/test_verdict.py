import numpy as np
import pytest

from embridge.evaluation import Cell, Report, Task, decide
from embridge.evaluation.gates import GateResult
from embridge.evaluation.verdict import Verdict, with_gates


def made(shares, *, queries=1_000, directions=("",)):
    """Cells in which the first so many of every ten queries are right at rank 1."""
    one = np.ones((queries, 1))
    tasks = tuple(
        Task(
            d,
            tuple(map(str, range(queries))),
            ("right", "wrong"),
            10,
            one[:, 0].astype(np.int64),
            one.astype(np.float32),
        )
        for d in directions
    )

    def cell(direction, name, share):
        right = (np.arange(queries) % 10 < 10 * share)[:, None]
        return Cell(direction, name, np.where(right, 0, 1), one.astype(np.float32), right.astype(np.float32))

    cells = [
        cell(d, name, share[i] if isinstance(share, tuple) else share)
        for i, d in enumerate(directions)
        for name, share in shares.items()
    ]
    return Report(tasks, tuple(cells), ("recall_at_1",))


@pytest.mark.parametrize(
    ("shares", "decision"),
    [
        ({"new/old": 0.6, "new/new": 0.8}, "upgrade"),
        ({"new/old": 0.1, "new/new": 0.8}, "backfill first"),
        ({"new/old": 0.1, "new/new": 0.2}, "keep the old model"),
        ({"new/old": 0.4, "new/new": 0.8}, "not enough evidence"),
        ({"new/old": 0.1, "new/new": 0.8, "fused/old": 0.5}, "upgrade with fusion or cascade"),
        ({"new/old": 0.1, "new/new": 0.8, "fused/old": 0.3, "cascade": 0.7}, "upgrade with fusion or cascade"),
        ({"new/old": 0.6, "new/new": 0.8, "fused/old": 0.7}, "upgrade"),
        ({"new/old": 0.4, "new/new": 0.8, "cascade": 0.4}, "not enough evidence"),
    ],
)
def test_every_decision_is_reached(shares, decision):
    assert decide(made({"old/old": 0.4} | shares)).decision == decision


def test_no_direction_may_get_worse():
    directions = ("t2i", "i2t")
    shares = {"old/old": 0.4, "new/old": (0.6, 0.3), "new/new": 0.8}
    assert decide(made(shares, directions=directions)).decision == "backfill first"
    assert decide(made(shares | {"new/old": (0.6, 0.4)}, directions=directions)).decision == "upgrade"
    assert decide(made(shares | {"new/new": (0.8, 0.1)}, directions=directions)).decision == "keep the old model"


def test_the_sentence_gives_figures_interval_and_what_helped():
    sentence = decide(made({"old/old": 0.4, "new/old": 0.1, "new/new": 0.8, "fused/old": 0.5})).sentence
    assert sentence.startswith(
        "Upgrade with fusion or cascade: search Recall@1 goes from 0.400 to 0.500 (+0.100, 95 % interval +0.0"
    )
    assert sentence.endswith("by fusion with the old query.")


def test_the_larger_gain_is_recommended_and_the_other_named():
    shares = {"old/old": 0.4, "new/old": 0.1, "new/new": 0.9, "fused/old": 0.7, "cascade": 0.8}
    verdict = decide(made(shares))
    assert verdict.decision == "upgrade with fusion or cascade"
    assert "goes from 0.400 to 0.800" in verdict.sentence
    assert verdict.sentence.endswith(
        "by a cascade. Less is gained by fusion with the old query (both encoders for each query): search 0.700 (+0.300)."
    )
    turned = decide(made(shares | {"fused/old": 0.9})).sentence
    assert "to 0.900" in turned
    assert turned.endswith("Less is gained by a cascade (items re-encoded for each query): search 0.800 (+0.400).")


@pytest.mark.parametrize(("cascade", "named"), [(0.8, True), (0.6, False), (0.5, False)])
def test_an_upgrade_names_what_gains_more(cascade, named):
    verdict = decide(made({"old/old": 0.4, "new/old": 0.6, "new/new": 0.9, "cascade": cascade}))
    assert (verdict.decision, "goes from 0.400 to 0.600" in verdict.sentence) == ("upgrade", True)
    more = "More is gained by a cascade (items re-encoded for each query): search 0.800 (+0.400)."
    assert (more in verdict.sentence) is named


def test_an_undecided_one_says_how_many_more_queries():
    report = made({"old/old": 0.4, "new/old": 0.4, "new/new": 0.8}, queries=40)
    values = report.cells[1].gains
    values[5], values[4] = 1.0, 1.0
    verdict = decide(report)
    assert verdict.decision == "not enough evidence"
    assert verdict.more_queries is not None
    digits = str(round(verdict.more_queries, 2 - len(str(verdict.more_queries))))
    assert f"About {int(digits):,} more queries" in verdict.sentence
    # two wins of forty: (2.8 · sd / mean)² queries in all, less the forty there are
    changes = np.zeros(40)
    changes[:2] = 1
    needed = (2.8016 * changes.std() / changes.mean()) ** 2
    assert verdict.more_queries == pytest.approx(max(needed, 6 / 0.05) - 40, abs=2)


def test_what_millions_of_queries_would_settle_is_no_difference():
    report = made({"old/old": 0.4, "new/old": 0.4, "new/new": 0.8}, queries=10_000)
    report.cells[1].gains[::10] = 0  # a thousand queries lost, a thousand and one won
    report.cells[1].gains[4::10] = 1
    report.cells[1].gains[5] = 1
    verdict = decide(report)
    assert verdict.more_queries > 1_000_000
    assert verdict.sentence.endswith(
        "Where it is undecided there is no difference worth measuring: millions of queries would not settle it."
    )
    same = decide(made({"old/old": 0.4, "new/old": 0.4, "new/new": 0.8}))
    assert (same.more_queries, same.decision) == (None, "not enough evidence")
    assert same.sentence.endswith("No difference was seen where it is undecided.")


def test_failed_gates_end_the_sentence_and_leave_the_decision():
    verdict = Verdict("upgrade", "Upgrade: because.")
    passed, failed = (
        GateResult("mrr_at_10 > 0", "search", 0.5, 0.0, True),
        GateResult("map > 1", "search", 0.5, 1, False),
    )
    assert with_gates(verdict, [passed]) == verdict
    told = with_gates(verdict, [passed, failed])
    assert told.decision == "upgrade"
    assert told.sentence == "Upgrade: because. But 1 of 2 gate checks failed: map > 1 (search)."


def test_three_queries_are_never_enough():
    report = made({"old/old": 0.0, "new/old": 1.0, "new/new": 1.0}, queries=3)
    assert decide(report).decision == "not enough evidence"
    assert decide(made({"old/old": 0.0, "new/old": 1.0, "new/new": 1.0}, queries=1)).decision == "not enough evidence"
