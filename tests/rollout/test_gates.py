"""Gates of a rollout hold for what a shadow found and for a report, everywhere, or say where not."""

import numpy as np
import pytest

from embridge.errors import GateRefused, SettingsError
from embridge.evaluation import Cell, Relevance, Report, Task
from embridge.rollout.gates import RolloutGate, check_rollout_gates, needs_report, require_rollout_gates
from embridge.rollout.quality import Quality, quality_of
from embridge.rollout.shadow_figures import ShadowFigures, shadow_figures
from embridge.rollout.shadow_log import ShadowLog, ShadowSample, add_to_log, write_log
from embridge.stores.documents import MemoryDocuments


def sample(overlap, top1=1.0, scores=(0.5, 0.5)):
    return ShadowSample(overlap, top1, overlap, *scores, 0.01, 0.02)


def log(*overlaps, quality=()):
    return ShadowLog("a1", tuple(map(sample, overlaps)), len(overlaps), quality=quality)


@pytest.fixture
def judged():
    """Ten queries; the old model finds the right item of five, the bridge of four of these."""
    right = [["x", f"r{i}"] if i < 5 else ["x", "y"] for i in range(10)]
    bridged = [["x", "y"] if i == 0 else ids for i, ids in enumerate(right)]
    relevance = Relevance.from_pairs([(f"q{i}", f"r{i}") for i in range(10)])
    return quality_of(relevance, [f"q{i}" for i in range(10)], (right, bridged), ["mrr_at_2", "recall_at_2"])


@pytest.fixture
def report():
    """Recall at 1: .5 old, .75 bridged, 1 new."""

    def cell(name, right):
        gains = (np.arange(4) < right)[:, None].astype(np.float32)
        return Cell("", name, np.zeros((4, 1), np.int64), gains, gains)

    task = Task("", tuple("abcd"), ("g", "h"), 2, np.ones(4, np.int64), np.ones((4, 1), np.float32))
    cells = [cell(name, right) for name, right in (("old/old", 2), ("new/old", 3), ("new/new", 4), ("naive", 0))]
    return Report((task,), tuple(cells), ("recall_at_1",))


def test_quality_is_that_of_the_evaluation_and_what_is_not_found_counts(judged):
    mrr, recall = judged
    assert (mrr.old.value, mrr.bridged.value) == (0.25, 0.2)
    assert (recall.old.value, recall.bridged.value, recall.kept) == (0.5, 0.4, 0.8)
    assert recall.difference.value == pytest.approx(-0.1)
    assert recall.compatible == "undecided"  # one query alone changed
    assert Quality.from_dict(recall.to_dict()) == recall


@pytest.mark.parametrize(
    ("gate", "value", "passed"),
    [
        ("shadow_overlap >= 0.6", 0.6, True),
        ("shadow_overlap >= 0.6 surely", 0.2, False),
        ("shadow_top1 > 1", 1.0, False),
        ("shadow_rank_biased<0.7", 0.6, True),
        ("shadow_score_shift <= 0.0", 0.0, True),
        ("shadow_queries >= 3", 3.0, True),
        ("shadow_kept >= 0.8", 0.8, True),
        ("shadow_kept >= 0.81", 0.8, False),
        ("retention >= 0.75", 0.75, True),
        ("update_gain >= 0.6", 0.5, False),
        ("break_even > 1.4", 1.5, True),
        ("recall_at_1 new/old >= 0.9 * new/new", 0.75, False),
        ("recall_at_1 >= old/old + 0.2", 0.75, True),
    ],
)
def test_each_kind_of_gate_goes_by_its_figure(judged, report, gate, value, passed):
    figures = ShadowFigures.of("asked", log(0.2, 0.6, 1.0, quality=judged))
    (result,) = check_rollout_gates([gate], [figures], report)
    assert result.value == pytest.approx(value)
    assert result.passed is passed


def test_a_gate_holds_for_sampled_queries_and_for_those_of_a_file():
    documents = MemoryDocuments()
    gate = "shadow_overlap >= 0.5"
    (none,) = check_rollout_gates([gate], shadow_figures(documents, upgrade_id="a1"), None)
    assert (none.value, none.passed) == (None, False)
    with pytest.raises(
        GateRefused, match=r"1 of 1 gate checks failed: shadow_overlap >= 0.5 \(no query was compared yet"
    ):
        require_rollout_gates([none])
    add_to_log(documents, log(0.2, 0.4))
    write_log(documents, log(0.8, 1.0))
    (count,) = check_rollout_gates(["shadow_queries >= 4"], shadow_figures(documents, upgrade_id="a1"), None)
    assert (count.value, count.passed) == (4.0, True)
    results = check_rollout_gates([gate], shadow_figures(documents, upgrade_id="a1"), None)
    assert [(one.where, one.passed) for one in results] == [("sampled queries", False), ("queries of a file", True)]
    assert shadow_figures(documents, upgrade_id="b2") == ()


def test_judged_queries_that_nobody_asked_meet_no_gate():
    (result,) = check_rollout_gates(["shadow_kept >= 0.5"], [ShadowFigures.of("sampled", log(1.0))], None)
    assert result.told.startswith("no judged query was asked yet")


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("shadow_luck >= 1", "expected NAME >= NUMBER with one of shadow_overlap, "),
        ("retention >= old/old", "expected NAME >= NUMBER"),
        ("shadow_queries >= 3 surely", "surely needs an interval"),
        ("luck >= 1", "there is no metric 'luck'"),
        ("", "expected METRIC"),
    ],
)
def test_a_line_that_is_no_gate_says_what_one_is(gate, message):
    with pytest.raises(SettingsError, match=message):
        needs_report(gate)


def test_a_gate_on_a_report_needs_one():
    with pytest.raises(SettingsError, match="is on a report; name the one"):
        check_rollout_gates(["retention >= 0.9"], (), None)
    require_rollout_gates([RolloutGate("retention >= 0.9", "report, search", 0.9, 0.9, passed=True)])


def test_figures_are_of_the_samples_that_are_kept():
    samples = tuple(sample(0.5, i % 2, (0.5, 0.7)) for i in range(8))
    figures = ShadowFigures.of("sampled", ShadowLog("a1", samples, 100, empty=2, dropped=3, failed={"StoreError": 4}))
    shown = figures.to_dict()
    assert (shown["queries"], shown["kept"], shown["overlap"]) == (100, 8, [0.5, 0.5, 0.5])
    assert (shown["top1"][0], shown["score_shift"]) == (0.5, 1.0)
    assert shown["seconds"]["bridged"] == {"median": 0.02, "p95": 0.02}
    rows = dict(map(tuple, figures.rows()))
    assert rows["compared"] == "100, figures of 8 of them"
    assert (rows["found nothing"], rows["dropped"], rows["failed"]) == ("2", "3", "4 StoreError")
    assert ShadowFigures.of("sampled", ShadowLog("a1", dropped=1)) is None
