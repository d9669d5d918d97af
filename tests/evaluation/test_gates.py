import numpy as np
import pytest

from embridge.errors import GateRefused, SettingsError
from embridge.evaluation import Cell, Report, Task, check_gates, require_gates
from embridge.evaluation.gates import parse_gate


def value(report, text):
    return check_gates(report, [text])


def test_a_gate_is_taken_apart():
    gate = parse_gate("  recall_at_10.t2i[language=pt-BR] new/old >= 0.98 * old/old - 0.01 surely ")
    assert (gate.metric, gate.direction, gate.column, gate.label) == ("recall_at_10", "t2i", "language", "pt-BR")
    assert (gate.cell, gate.comparison, gate.factor, gate.against, gate.offset) == (
        "new/old",
        ">=",
        0.98,
        "old/old",
        -0.01,
    )
    assert gate.surely
    plain = parse_gate("negative_flip_rate<=0.03")
    assert (plain.cell, plain.against, plain.offset, plain.surely) == ("new/old", None, 0.03, False)
    assert parse_gate("ndcg_at_5 cascade > naive + .1").offset == 0.1
    close = parse_gate("ndcg_at_5 same-2/old>=old/old-0.02")
    assert (close.cell, close.against, close.offset) == ("same-2/old", "old/old", -0.02)


def test_a_gate_without_direction_holds_in_all(report):
    results = value(report, "recall_at_10 new/old > old/old")
    assert [r.where for r in results] == ["text to image", "image to text"]
    for direction, result in zip(("t2i", "i2t"), results, strict=True):
        assert result.value == pytest.approx(report.mean(direction, "new/old", "recall_at_10"))
        assert result.bound == pytest.approx(report.mean(direction, "old/old", "recall_at_10"))
        assert result.passed


def test_factor_and_offset_make_the_bound(report):
    (result,) = value(report, "recall_at_5.i2t same/old < 0.5 * new/new + 0.1")
    assert result.bound == pytest.approx(0.5 * report.mean("i2t", "new/new", "recall_at_5") + 0.1)
    assert result.passed == (result.value < result.bound)


def test_flip_rates_are_of_the_main_metric(report):
    negative, positive = report.flip_rates("i2t", "recall_at_10")
    assert value(report, "negative_flip_rate.i2t <= 0.5")[0].value == negative
    assert value(report, "positive_flip_rate.i2t >= 0.9")[0].value == positive
    assert not value(report, "positive_flip_rate.i2t >= 0.9")[0].passed


def test_slices_are_judged_one_by_one(report):
    results = value(report, "recall_at_10.t2i[half] new/old > old/old")
    assert [r.where for r in results] == ["text to image, half=first", "text to image, half=second"]
    (first,) = value(report, "recall_at_10.t2i[half=first] new/old > old/old")
    assert first.value == report.values("t2i", "new/old", "recall_at_10")[:300].mean()


def test_surely_is_stricter_than_a_point(report):
    lead = report.compatible("t2i", "recall_at_10").difference
    inside = f"recall_at_10.t2i new/old >= old/old + {lead.value - 0.001:.4f}"
    assert value(report, inside)[0].passed
    assert not value(report, inside + " surely")[0].passed
    (result,) = value(report, "recall_at_10.t2i new/old > old/old surely")
    assert (result.value, result.bound, result.passed) == (pytest.approx(lead.low), 0.0, True)
    (result,) = value(report, "recall_at_10.t2i naive < old/old surely")
    assert result.passed
    assert result.value == pytest.approx(report.compatible("t2i", "recall_at_10", "naive").difference.high)


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("recall_at_10 is good", "expected METRIC"),
        ("recall_at_10 new/old >=", "expected METRIC"),
        ("recall new/old >= 0.5", "there is no metric 'recall'"),
        ("negative_flip_rate <= old/old", "a flip rate is compared with a number"),
        ("", "expected METRIC"),
    ],
)
def test_gates_that_say_nothing_are_refused(gate, message):
    with pytest.raises(SettingsError, match=message):
        parse_gate(gate)


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("recall_at_10.fr new/old >= 0.5", "no direction 'fr'"),
        ("recall_at_10 slerp/old >= 0.5", "no cell 'slerp/old'"),
        ("recall_at_50 new/old >= 0.5", "recall_at_50 of old/old cannot be had"),
        ("recall_at_10.t2i[language] new/old >= 0.5", r"no slice column 'language'; there are \['half'\]"),
        ("recall_at_10.t2i[half=third] new/old >= 0.5", "no query has half = 'third'"),
    ],
)
def test_gates_on_what_was_not_measured_are_refused(report, gate, message):
    with pytest.raises(SettingsError, match=message):
        check_gates(report, [gate])


def test_refusal_names_every_failing_gate(report):
    gates = ["recall_at_10 new/old > old/old", "negative_flip_rate <= 0.0001", "recall_at_1.t2i new/old >= 0.99"]
    with pytest.raises(
        GateRefused,
        match=r"3 of 5 gate checks failed: negative_flip_rate <= 0\.0001 \(text to image: .*recall_at_1\.t2i",
    ):
        require_gates(check_gates(report, gates))
    require_gates(check_gates(report, gates[:1]))
    assert GateRefused.exit_code == 3


@pytest.mark.parametrize(
    ("old", "new", "gate", "passed"),
    [
        (14, 12, "new/old >= old/old - 0.02", True),  # 0.14 - 0.02 is 0.12000000000000001
        (14, 12, "new/old > old/old - 0.02", False),
        (57, 55, "new/old > old/old - 0.02", False),  # 0.57 - 0.02 is 0.5499999999999999
        (57, 55, "new/old <= old/old - 0.02", True),
    ],
)
def test_rounding_decides_no_gate(old, new, gate, passed):
    gains = {name: (np.arange(100) < right)[:, None] for name, right in (("old/old", old), ("new/old", new))}
    ones = np.ones((100, 1), np.float32)
    task = Task("", tuple(map(str, range(100))), ("a",), 50, np.ones(100, np.int64), ones)
    cells = [Cell("", n, np.zeros((100, 1), np.int64), ones, g.astype(np.float32)) for n, g in gains.items()]
    assert value(Report((task,), tuple(cells), ("recall_at_1",)), f"recall_at_1 {gate}")[0].passed == passed


def test_a_gate_that_is_checked_nowhere_does_not_pass(report):
    assert not report.task("i2t").labels("half")
    with pytest.raises(SettingsError, match="no query has a label in 'half'"):
        check_gates(report, ["recall_at_10.i2t[half] new/old >= 0.5"])
