import json

import numpy as np
import pytest

from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Identity, Linear, Provenance
from embridge.errors import SettingsError
from embridge.evaluation import (
    Relevance,
    Scope,
    Side,
    backfill_auc,
    evaluate,
    load_report,
    load_summary,
    save_report,
    summarise,
)
from embridge.evaluation.render.markdown import report_markdown
from embridge.evaluation.render.terminal import report_tables
from embridge.evaluation.report_files import summary_to_dict


@pytest.fixture(scope="module")
def summary(report):
    return summarise(report, gates=["negative_flip_rate <= 0.03"])


@pytest.mark.slow
def test_every_cell_and_metric_has_a_figure(report, summary):
    for direction in report.directions:
        for cell in report.names(direction):
            for metric in report.metrics:
                figure = summary.figure(direction, cell, metric)
                assert figure.interval == report.interval(direction, cell, metric)
                if cell == "old/old":
                    assert figure.difference is figure.compatible is figure.negative_flip_rate is None
                else:
                    assert figure.difference == report.compatible(direction, metric, cell).difference
    assert not any(figure.cell.startswith("mixed@") for figure in summary.figures)
    with pytest.raises(KeyError):
        summary.figure("t2i", "mixed@0.5000/random", "recall_at_10")


@pytest.mark.slow
def test_ratios_are_what_their_names_say(report, summary):
    for ratios in summary.ratios:
        old, bridged, new, ceiling = (
            report.mean(ratios.direction, cell, "recall_at_10") for cell in ("old/old", "new/old", "new/new", "ceiling")
        )
        assert ratios.retention == pytest.approx(bridged / new)
        assert ratios.gain_ratio == pytest.approx(new / old)
        assert ratios.break_even == pytest.approx(bridged / old)
        assert ratios.update_gain == pytest.approx((bridged - old) / (new - old))
        assert ratios.ceiling == ceiling >= bridged


def test_slices_are_their_queries_alone(report, summary):
    values = report.values("t2i", "new/old", "recall_at_10")
    own = {(s.label, s.cell): s for s in summary.slices}
    assert own["first", "new/old"].interval.value == pytest.approx(values[:300].mean())
    assert own["second", "new/old"].interval.value == pytest.approx(values[300:].mean())
    assert {s.queries for s in summary.slices} == {300}
    assert {s.direction for s in summary.slices} == {"t2i"}  # no photo has a label


def test_the_worst_flips_lost_a_first_rank_and_fell_furthest(report, summary):
    for direction in report.directions:
        flips = [f for f in summary.flips if f.direction == direction]
        task = report.task(direction)
        ranks = {name: report.cell(direction, name).first_hits for name in ("old/old", "new/old")}
        for flip in flips:
            row = task.query_ids.index(flip.query)
            assert (flip.before, flip.after) == (ranks["old/old"][row], ranks["new/old"][row])
            assert flip.before > 0 == flip.after
            assert set(flip.right) & set(task.gallery_ids)
            assert flip.old_hits[: flip.before][-1] in flip.right if flip.before <= 5 else True
        lost = np.flatnonzero((ranks["old/old"] > 0) & (ranks["new/old"] == 0))
        assert [f.before for f in flips] == sorted(ranks["old/old"][lost])[:10]


def test_the_best_wins_won_a_first_rank_and_came_from_furthest(report, summary):
    for direction in report.directions:
        wins = [f for f in summary.wins if f.direction == direction]
        task = report.task(direction)
        ranks = {name: report.cell(direction, name).first_hits for name in ("old/old", "new/old")}
        for flip in wins:
            row = task.query_ids.index(flip.query)
            assert (flip.before, flip.after) == (ranks["old/old"][row], ranks["new/old"][row])
            assert flip.before == 0 < flip.after
            assert flip.new_hits[: flip.after][-1] in flip.right if flip.after <= 5 else True
        won = np.flatnonzero((ranks["old/old"] == 0) & (ranks["new/old"] > 0))
        assert [f.after for f in wins] == sorted(ranks["new/old"][won])[:10]
        assert wins


def test_curves_have_intervals_and_an_area(summary):
    for curve in summary.curves:
        assert len(curve.fractions) == len(curve.intervals) == 22
        assert curve.auc == pytest.approx(backfill_auc([i.value for i in curve.intervals]))
        assert all(i.low <= i.value <= i.high for i in curve.intervals)


def test_histograms_hold_every_best_hit_once(report, summary):
    for histogram in summary.histograms:
        cell = report.cell(histogram.direction, histogram.cell)
        assert sum(histogram.right) == (cell.gains[:, 0] > 0).sum()
        assert sum(histogram.right) + sum(histogram.wrong) == len(cell.rows)
        assert len(histogram.edges) == len(histogram.right) + 1
    for direction in report.directions:
        old, new = (h for h in summary.histograms if h.direction == direction and h.cell != "new/new")
        assert old.edges == new.edges  # one axis: both are scores of one space


def test_a_threshold_gives_its_precision_on_both_sides(report, summary):
    for shift in summary.shifts:
        for name, threshold in (("old/old", shift.old), ("new/old", shift.new)):
            cell = report.cell(shift.direction, name)
            scores, right = cell.scores[:, 0].astype(np.float64), cell.gains[:, 0] > 0
            if threshold is None:
                assert all(right[scores >= s].mean() < shift.precision for s in scores)
            else:
                assert right[scores >= threshold.score].mean() == pytest.approx(threshold.precision)
                assert threshold.precision >= shift.precision
                lower = scores[scores < threshold.score]
                assert all(right[scores >= s].mean() < shift.precision for s in lower)


@pytest.mark.slow
def test_a_threshold_in_use_gets_the_new_one_that_keeps_its_precision(report):
    shifts = summarise(report, precisions=(), thresholds=[0.9, 2.0]).shifts
    for shift in shifts[::2]:
        cell = report.cell(shift.direction, "old/old")
        kept = cell.scores[:, 0].astype(np.float64) >= 0.9
        assert shift.old.score == 0.9
        assert shift.precision == shift.old.precision == pytest.approx((cell.gains[kept, 0] > 0).mean())
        assert shift.new.precision >= shift.precision
    assert {(s.old.kept, s.precision) for s in shifts[1::2]} == {(0.0, 1.0)}  # a threshold that nothing reaches


def made(queries, items, *, noise=0.3, order=(0, 1, 2, 3)):
    generator = np.random.default_rng(0)
    spaces = Space("old", "", 4), Space("new", "", 4)
    vectors = generator.normal(size=(items, 4)).astype(np.float32)
    asked = vectors[np.arange(queries) % items] + noise * generator.normal(size=(queries, 4)).astype(np.float32)
    ids = [f"q{i}" for i in range(queries)], [f"g{i}" for i in range(items)]
    sides = [Side(*(Embeddings.of(x, s, i) for x, i in zip((asked, vectors), ids, strict=True))) for s in spaces]
    bridge = Linear(spaces[1], spaces[0], np.eye(4, dtype=np.float32)[list(order)])
    upgrade = Upgrade(Identity(spaces[1], spaces[1]), bridge, Provenance("x"))
    relevance = Relevance.from_pairs((f"q{i}", f"g{i % items}") for i in range(queries))
    return sides, upgrade, relevance


@pytest.mark.slow
def test_cautions_name_what_makes_figures_doubtful(world):
    sides, upgrade, relevance = made(30, 18, order=(1, 0, 2, 3))
    slices = {"half": {f"q{i}": "a" if i < 25 else "b" for i in range(30)}}
    found = summarise(
        evaluate(*sides, upgrade, relevance, scope=Scope(directions=("",), slices=slices)), precisions=()
    ).cautions
    assert [text.split(": ", 1)[1].split(";")[0] for text in found] == [
        "only 30 queries were asked",
        "k = 10 is half of the gallery of 18 or more",
        "new queries do as well without the bridge",
        "1 slices of half have fewer than 10 queries",
    ]
    old, new, known, relevance = world
    assert summarise(evaluate(old, new, known, relevance), precisions=()).cautions == ()
    neighbours = Relevance.from_neighbours(new.queries, new.gallery, 3)
    cautions = summarise(evaluate(old, new, known, neighbours, scope=Scope(directions=("t2i",)))).cautions
    assert "this measures imitation, not quality" in cautions[0]


def test_a_bridge_that_changes_nothing_is_not_called_wrong():
    """A model trained to be compatible needs none; naive is the same search."""
    sides, upgrade, relevance = made(60, 60)
    assert summarise(evaluate(*sides, upgrade, relevance, scope=Scope(directions=("",))), precisions=()).cautions == ()


@pytest.mark.slow
def test_queries_that_were_not_asked_are_counted(world, tmp_path):
    old, new, known, relevance = world
    judged = Relevance({query: items for query, items in relevance.gains.items() if int(query.split()[1]) >= 40})
    report = evaluate(old, new, known, judged, scope=Scope(unjudged="skip"))
    expected = (
        "text to image: 40 of 600 queries were not asked, since no item of the gallery is known to be right for them",
        "image to text: 20 of 300 queries were not asked, since no item of the gallery is known to be right for them",
    )
    assert summarise(report, precisions=()).cautions == expected
    save_report(report, tmp_path / "report.json", precisions=())
    assert summarise(load_report(tmp_path / "report.json"), precisions=()).cautions == expected


@pytest.mark.slow
def test_thresholds_that_rest_on_few_hits_come_with_a_caution(report):
    scores = np.sort(report.cell("t2i", "old/old").scores[:, 0])[::-1].astype(np.float64)
    assert not [text for text in summarise(report, precisions=[0.0]).cautions if "threshold" in text]
    enough, few = (summarise(report, precisions=(), thresholds=[scores[kept - 1]]) for kept in (20, 19))
    assert enough.shifts[0].old.kept == pytest.approx(20 / 600)
    assert not few.shifts[0].old.rests_on_few(10_000)
    [caution] = [text for text in few.cautions if text.startswith("text to image: score thresholds")]
    assert caution.endswith("rest on fewer than 20 hits; do not set one by them")
    text = "\n".join(" ".join(row) for table in report_tables(few) for row in table.rows)
    assert "3.2%, few hits" in text


def test_one_query_and_a_gallery_of_one_have_figures():
    sides, upgrade, relevance = made(1, 1)
    summary = summarise(
        evaluate(*sides, upgrade, relevance, scope=Scope(directions=("",), cells=("fused/old", "cascade", "ceiling")))
    )
    assert summary.verdict.decision == "not enough evidence"
    assert summary.figure("", "naive", "recall_at_1").interval.value == 1.0
    assert summary.ratios[0].update_gain is None  # the new model is no better: nothing to divide by
    json.dumps(summary_to_dict(summary), allow_nan=False)
    assert report_tables(summary)


def test_where_nothing_is_ever_found_there_are_no_ratios():
    sides, upgrade, _ = made(60, 100)
    relevance = Relevance.from_pairs((f"q{i}", f"g{99 - i}") for i in range(60))
    summary = summarise(evaluate(*sides, upgrade, relevance, scope=Scope(metrics=("recall_at_1",), directions=("",))))
    ratios = summary.ratios[0]
    assert (ratios.retention, ratios.break_even, ratios.update_gain) == (None, None, None)
    json.dumps(summary_to_dict(summary), allow_nan=False)
    assert "Infinity" not in report_markdown(summary)


@pytest.mark.slow
def test_flips_go_by_what_is_found_also_where_the_metric_never_is_zero(world):
    old, new, upgrade, relevance = world
    scope = Scope(metrics=("recall_at_5", "map"), directions=("t2i",), depth=5)
    report = evaluate(old, new, upgrade, relevance, scope=scope)
    assert report.flip_rates("t2i", "map") == report.flip_rates("t2i", "recall_at_5") > (0, 0)
    assert len(summarise(report).flips) > 0


def test_tables_hold_every_part(report, summary):
    tables = {table.title: table for table in report_tables(summary)}
    assert list(tables) == [
        "text to image, 600 queries", "image to text, 300 queries", "What the bridge keeps", "Slices", "Backfilled so far",
        "Thresholds that keep a precision", "Worst flips", "Gates",
    ]  # fmt: skip
    cells = tables["text to image, 600 queries"]
    names = [name for name in report.names("t2i") if name != "ceiling"]
    assert [row[0] for row in cells.rows] == [*names, "(ceiling)"]
    assert cells.rows[-1][-2:] == ["", ""]  # it asks with the answer: better than nothing
    assert cells.rows[1][1].startswith(f"{report.mean('t2i', 'new/old', 'recall_at_1'):.3f} ±")
    changes = [float(row[-2].split()[0]) for row in tables["Slices"].rows]
    assert changes == sorted(changes)  # as on the page: those that lost most first
    assert {row[0] for row in tables["Slices"].rows} == {"text to image: half=first", "text to image: half=second"}
    assert [row[-1] for row in tables["Gates"].rows] == ["passed", "FAILED"]
    for table in tables.values():
        assert {len(row) for row in table.rows} == {len(table.columns)}


@pytest.mark.slow
def test_markdown_survives_hostile_names(world):
    old, new, upgrade, relevance = world
    names = {q: f"a | b\n{q} `x` \\" for q in old.queries.ids}
    sides = [
        Side(Embeddings.of(s.queries.vectors, s.queries.space, list(names.values())), s.gallery) for s in (old, new)
    ]
    relevance = Relevance.from_pairs((names[q], i) for q, items in relevance.gains.items() for i in items)
    text = report_markdown(summarise(evaluate(*sides, upgrade, relevance, scope=Scope(directions=("t2i",)))))
    header = next(i for i, line in enumerate(text.splitlines()) if line.startswith("| query that lost"))
    columns = text.splitlines()[header].replace("\\|", "").count("|")
    for line in text.splitlines()[header : header + 6]:
        assert line.replace("\\\\", "").replace("\\|", "").count("|") == columns


@pytest.mark.parametrize(
    "wanted", [{"thresholds": [float("inf")]}, {"precisions": [90]}, {"precisions": [float("nan")]}]
)
def test_precisions_and_thresholds_that_are_none_are_refused(report, wanted):
    with pytest.raises(SettingsError, match="expected precisions of 0 to 1 and finite thresholds"):
        summarise(report, **wanted)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["dot", "l2"])
@pytest.mark.parametrize("scale", [1e-30, 1e19])
def test_scores_beyond_float32_leave_a_report_whole(metric, scale, tmp_path):
    generator = np.random.default_rng(0)
    rows = [(scale * generator.normal(size=(30, 3))).astype(np.float32) for _ in range(2)]
    ids = [[f"{side}{i}" for i in range(30)] for side in "qg"]
    old, new = (Space(name, "1", 3, metric) for name in ("old", "new"))
    sides = (
        Side(*(Embeddings.of(x, space, names) for x, names in zip(rows, ids, strict=True))) for space in (old, new)
    )
    upgrade = Upgrade(Identity(new, new), Linear(new, old, np.eye(3, dtype=np.float32)), Provenance("none"))
    relevance = Relevance.from_pairs((f"q{i}", f"g{i}") for i in range(30))
    made = evaluate(*sides, upgrade, relevance, scope=Scope(cells=("cascade",), orders={"random": None}))
    assert save_report(made, tmp_path / "report.json") == load_summary(tmp_path / "report.json")
