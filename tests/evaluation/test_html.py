"""The page of a report: well-formed, complete, harmless whatever the ids hold, and readable in a real browser."""

import base64
import io
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest
from browsers import CONTRASTS, started_browser
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embridge.errors import InvalidInput
from embridge.evaluation import Interval, measure, summarise
from embridge.evaluation.figures import Curve, Histogram
from embridge.evaluation.render._charts import curve_chart, histogram_chart, interval_bar, ticks
from embridge.evaluation.render._markup import element
from embridge.evaluation.render.html import Picture, pictures_from, report_html, save_html

HOSTILE = "x\"><script>alert('1')</script>' & ]]> " + "verylong" * 40
GATES = (
    "recall_at_10.t2i new/old >= 0.98 * old/old",
    "negative_flip_rate <= 0.03",
    "recall_at_10.t2i[half] new/old > old/old + 0.01 surely",
)


@pytest.fixture(scope="module")
def summary(report):
    return replace(summarise(report, gates=GATES), cautions=("text to image: a caution to show",))


def with_hostile_ids(summary):
    """Every text that comes from outside is replaced by one that tries to break out."""
    bad = HOSTILE
    return replace(
        summary,
        verdict=replace(summary.verdict, decision="keep the old model", sentence=f"Keep the old model: {bad}"),
        asked=tuple(replace(a, title=f"{a.title} {bad}", source=bad) for a in summary.asked),
        flips=tuple(
            replace(f, query=bad, right=(bad,) * 9, old_hits=(bad, "b"), new_hits=("b",)) for f in summary.flips
        ),
        curves=tuple(replace(c, order=bad) for c in summary.curves),
        slices=tuple(replace(s, column=bad, label=f"{s.label} {bad}") for s in summary.slices),
        gates=tuple(replace(g, gate=bad, where=bad) for g in summary.gates),
        cautions=(bad,),
        about={bad: {bad: [bad, None]}},
    )


def with_one_direction(summary):
    def of(parts):
        return tuple(replace(part, direction="") for part in parts if part.direction == "t2i")

    return replace(
        summary,
        asked=(replace(summary.asked[0], direction="", title="search"),),
        figures=of(summary.figures), ratios=of(summary.ratios), flips=of(summary.flips), shifts=of(summary.shifts),
        histograms=of(summary.histograms), curves=of(summary.curves), slices=of(summary.slices), gates=(), cautions=(),
    )  # fmt: skip


def with_nothing_but_cells(summary):
    nothing = dict.fromkeys(
        ("ratios", "slices", "flips", "wins", "curves", "histograms", "shifts", "gates", "cautions"), ()
    )
    return replace(summary, about={}, **nothing)


def with_extremes(summary):
    """Figures at their ends, ratios of nothing, thresholds that no score gives, a histogram of one score."""
    none, one = Interval(0.0, 0.0, 0.0), Interval(1.0, 1.0, 1.0)
    return replace(
        summary,
        figures=tuple(
            replace(f, interval=none if f.cell == "old/old" else one, difference=f.difference and one)
            for f in summary.figures
        ),
        ratios=tuple(replace(r, retention=None, update_gain=-1234567.8, ceiling=None) for r in summary.ratios),
        shifts=tuple(replace(s, old=None, new=None) for s in summary.shifts),
        histograms=tuple(replace(h, edges=(-0.5, 0.5), right=(0,), wrong=(3,)) for h in summary.histograms),
        curves=tuple(replace(c, fractions=(0.0,), intervals=(none,), auc=0.0) for c in summary.curves),
        slices=tuple(replace(s, interval=none, difference=s.difference and none) for s in summary.slices),
    )


def with_thirty_slices(summary):
    made = []
    for i in range(30):
        for found in summary.slices[:3]:
            moved = found.difference and Interval(*(x - i / 30 for x in (0.5, 0.4, 0.6)))
            made.append(replace(found, label=f"label {i}", difference=moved))
    return replace(summary, slices=tuple(made))


VARIANTS = {
    "whole": lambda summary: summary,
    "hostile": with_hostile_ids,
    "one direction": with_one_direction,
    "cells alone": with_nothing_but_cells,
    "extremes": with_extremes,
    "thirty slices": with_thirty_slices,
}


def parsed(page):
    declared, _, rest = page.partition("\n")
    assert declared == "<!doctype html>"
    return ET.fromstring(rest)


def text(node):
    return "".join(node.itertext())


def rows_of(root, label):
    """The rows of the table in the box of that label, as lists of text."""
    [box] = [div for div in root.iter("div") if div.get("aria-label") == label]
    return [[text(cell) for cell in row] for row in box.iter("tr")]


def section_of(root, title):
    [found] = [s for s in root.find("body/main").findall("section") if text(s.find("h2")).startswith(title)]
    return found


def classed(root, name):
    return [node for node in root.iter() if name in (node.get("class") or "").split()]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_page_is_well_formed_and_needs_nothing_else(summary, variant):
    root = parsed(report_html(VARIANTS[variant](summary)))
    assert root.get("lang") == "en"
    tags = {node.tag for node in root.iter()}
    assert not tags & {"script", "link", "iframe", "object", "base", "form"}
    attributes = [(name, value) for node in root.iter() for name, value in node.attrib.items()]
    assert not [name for name, _ in attributes if name.startswith("on") or name in ("href", "srcset", "action")]
    assert all(value.startswith("data:image/") for name, value in attributes if name == "src")
    assert "url(" not in text(root.find("head/style"))
    assert "@import" not in text(root.find("head/style"))


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_headings_go_down_one_level_at_a_time_and_drawings_are_described(summary, variant):
    root = parsed(report_html(VARIANTS[variant](summary)))
    levels = [int(node.tag[1]) for node in root.iter() if node.tag in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for drawing in root.iter("svg"):
        assert drawing.get("role") == "img"
        assert text(drawing.find("title"))
        assert text(drawing.find("desc"))
    for table in root.iter("table"):
        assert all(th.get("scope") in ("col", "row", "rowgroup") for th in table.iter("th"))


def test_every_figure_of_every_cell_is_there(summary):
    root = parsed(report_html(summary))
    words = {"yes": "▲ {} better", "no": "▼ {} worse", "undecided": "◇ {} undecided"}
    for asked in summary.asked:
        head, *rows = rows_of(root, f"cells, {asked.title}")
        assert [row[0] for row in rows] == [*asked.cells[:-1], "ceilingasks with the answer"]
        for row, cell in zip(rows, asked.cells, strict=True):
            for metric in summary.metrics:
                figure = summary.figure(asked.direction, cell, metric)
                shown = row[head.index(measure(metric).label)]
                assert shown.startswith(f"{figure.interval.value:.3f} ±{figure.interval.half:.3f}")
                if figure.difference is not None:
                    value = f"{figure.difference.value:+.3f}".replace("-", "−")
                    assert shown.endswith(words[figure.compatible].format(value))
            if cell != "old/old":
                lost, won = (float(x.replace("−", "").replace("+", "")) for x in row[-2:])
                assert lost == pytest.approx(figure.negative_flip_rate, abs=6e-4)
                assert won == pytest.approx(figure.positive_flip_rate, abs=6e-4)


def test_every_cell_is_explained(summary):
    root = parsed(report_html(summary))
    [legend] = classed(root, "legend")
    told = {text(entry.find("dt")): text(entry.find("dd")) for entry in legend}
    assert set(told) == {cell for asked in summary.asked for cell in asked.cells}
    assert "bridge" in told["new/old"]
    assert "control" in told["same/old"]
    assert all(told.values())


def test_the_best_cell_of_a_column_has_the_deepest_ground(summary):
    asked = summary.asked[0]
    root = parsed(report_html(summary))
    [box] = [div for div in root.iter("div") if div.get("aria-label") == f"cells, {asked.title}"]
    *rows, ceiling = box.find("table/tbody")
    assert ceiling.get("class") == "aside"
    assert not [cell for cell in ceiling if cell.get("style")]  # it asks with the answer, and is the best of nothing
    column = [row[len(summary.metrics)] for row in rows]
    depths = [float(cell.get("style").removeprefix("--depth:")) for cell in column]
    values = [summary.figure(asked.direction, cell, summary.main).interval.value for cell in asked.cells[:-1]]
    assert min(depths) == 0
    assert max(depths) == 1
    assert sorted(range(len(values)), key=values.__getitem__) == sorted(range(len(depths)), key=depths.__getitem__)


def test_ratios_curves_and_shifts_are_there(summary):
    root = parsed(report_html(summary))
    shown = text(root)
    for ratios, found in zip(summary.ratios, classed(root, "ratios"), strict=True):
        told = {text(entry[0]): text(entry[1]) for entry in found}
        assert told["retention"] == f"{ratios.retention:.3f}"
        assert told["gain ratio"] == f"{ratios.gain_ratio:.3f}"
        assert told["break-even"] == f"{ratios.break_even:.3f}"
        assert told["update gain"] == f"{ratios.update_gain:.3f}"
        assert told["ceiling"] == f"{ratios.ceiling:.3f}"
    for curve in summary.curves:
        assert f"{curve.order}: AUC {curve.auc:.3f}" in shown
    for shift in summary.shifts:
        assert f"new/old {shift.ks_distance:.3f}" in shown


def test_thresholds_or_a_word_where_no_score_gives_the_precision(summary):
    found = summary.shifts[0].new
    changed = replace(summary, shifts=(replace(summary.shifts[0], precision=0.5, old=None), *summary.shifts[3:]))
    [_, row] = rows_of(parsed(report_html(changed)), "thresholds, text to image")
    assert row[:2] == ["0.5", "— no score gives it"]
    assert float(row[2].split()[0]) == pytest.approx(found.score, rel=1e-3)
    assert float(row[2].split()[-1]) == pytest.approx(found.kept, rel=1e-2)
    few = replace(found, kept=0.01)
    changed = replace(summary, shifts=(replace(summary.shifts[0], precision=0.5, new=few), *summary.shifts[3:]))
    [_, row] = rows_of(parsed(report_html(changed)), "thresholds, text to image")
    assert row[2].endswith("few hits, keeps 0.01")


def test_a_ratio_that_cannot_be_had_says_so(summary):
    root = parsed(report_html(with_extremes(summary)))
    told = {text(entry[0]): (text(entry[1]), text(entry[2])) for entry in classed(root, "ratios")[0]}
    assert told["ceiling"] == ("—", "not measured, or nothing to divide by")
    assert told["update gain"][0] == "−1,234,568"


def test_failed_gates_come_first_and_are_counted(summary):
    root = parsed(report_html(summary))
    failed = [gate for gate in summary.gates if not gate.passed]
    assert failed
    _, *rows = rows_of(root, "gates")
    assert [row[0] for row in rows] == ["✗ failed"] * len(failed) + ["✓ passed"] * (len(rows) - len(failed))
    assert rows[0][1:] == [failed[0].gate, failed[0].where, f"{failed[0].value:.3f}", f"{failed[0].bound:.3f}"]
    assert text(section_of(root, "Gates").find("h2")) == f"Gates: {len(failed)} of {len(rows)} checks failed"


def test_slices_go_from_the_greatest_loss_to_the_greatest_gain(summary):
    root = parsed(report_html(with_thirty_slices(summary)))
    _, group, *rows = rows_of(root, "slices, text to image")
    assert group == ["half"]
    assert [row[0] for row in rows] == [f"label {i}" for i in reversed(range(30))]
    assert "−0.467" in rows[0][1]
    assert "−0.567 to −0.367" in rows[0][1]
    old, _, new = (found.interval for found in summary.slices[:3])
    assert rows[0][3] == f"{old.value:.3f} ±{old.half:.3f}"
    assert rows[0][5] == f"{new.value:.3f} ±{new.half:.3f}"


def test_flips_show_ranks_and_mark_what_is_right(summary):
    root = parsed(report_html(summary))
    shown = [item for flips in classed(root, "flips") for item in flips]
    assert len(shown) == len(summary.flips) + len(summary.wins)
    assert min(len(summary.flips), len(summary.wins)) > 0
    order = [asked.direction for asked in summary.asked]
    beside = sorted(summary.flips + summary.wins, key=lambda flip: order.index(flip.direction))
    for flip, item in zip(beside, shown, strict=True):
        asked = text(classed(item, "asked")[0])
        after = f"rank {flip.after}" if flip.after else "not found"
        before = f"rank {flip.before}" if flip.before else "not found"
        assert asked == f"{flip.query}first right item: {before} → {after}"
        _, old, new = classed(item, "hits")
        for hits, row in ((flip.old_hits, old), (flip.new_hits, new)):
            assert [text(hit) for hit in row] == [f"✓ {hit}" if hit in flip.right else hit for hit in hits]


def test_more_right_items_than_are_shown_are_counted_and_long_texts_end_visibly(summary):
    flip = replace(summary.flips[0], right=tuple(f"item {i}" for i in range(12)), old_hits=("y" * 500,))
    root = parsed(report_html(replace(summary, flips=(flip,), wins=())))
    right, old, _ = classed(root, "hits")
    assert text(right[-1]) == "and 7 more"
    assert text(old[0]) == "y" * 160 + "…"
    assert old[0][0].get("title") == "y" * 500


@pytest.mark.parametrize(
    ("decision", "kind", "sign"),
    [
        ("upgrade", "good", "✓"),
        ("upgrade with fusion or cascade", "good", "✓"),
        ("backfill first", "warn", "!"),
        ("keep the old model", "bad", "✗"),
        ("not enough evidence", "unknown", "?"),
    ],
)
def test_a_verdict_is_told_by_a_word_and_a_sign_besides_its_colour(summary, decision, kind, sign):
    sentence = f"{decision.capitalize()}: because."
    verdict = replace(summary.verdict, decision=decision, sentence=sentence)
    root = parsed(report_html(replace(summary, gates=summary.gates[:1], verdict=verdict)))
    [verdict] = classed(root, "verdict")
    assert verdict.get("class") == f"verdict {kind}"
    assert text(verdict) == sign + sentence
    assert list(root.find("body/main"))[1] is verdict


@pytest.mark.slow
def test_an_upgrade_whose_gates_failed_is_not_shown_as_good(report):
    root = parsed(report_html(summarise(report, gates=["recall_at_10 new/old >= 0.99"])))
    [verdict] = classed(root, "verdict")
    assert verdict.get("class") == "verdict warn"
    assert text(verdict).startswith("!Upgrade: ")
    assert text(verdict).endswith(
        "But 2 of 2 gate checks failed: recall_at_10 new/old >= 0.99 (text to image), and 1 more."
    )
    assert text(root.find("head/title")) == "Upgrade report: upgrade, but 2 of 2 gate checks failed"


@pytest.mark.slow
def test_a_gate_that_goes_by_an_interval_says_which_end_is_shown(report):
    gates = ["recall_at_10.t2i > old/old surely", "recall_at_10.t2i naive < old/old surely", "recall_at_10.t2i > 0"]
    _, *rows = rows_of(parsed(report_html(summarise(report, gates=gates))), "gates")
    assert [row[3].partition(" ")[2] for row in rows] == [
        "lower end of the interval", "upper end of the interval", "",
    ]  # fmt: skip


def test_parts_that_were_not_measured_leave_no_heading(summary):
    root = parsed(report_html(with_nothing_but_cells(summary)))
    assert [text(h) for h in root.iter("h2")] == ["Cells", "About"]
    assert not list(root.iter("svg"))


def test_one_direction_has_no_heading_of_its_own(summary):
    root = parsed(report_html(with_one_direction(summary)))
    assert not list(root.iter("h3"))
    assert rows_of(root, "cells, search")[1][0] == "old/old"


def test_what_it_was_measured_on_is_told(summary):
    root = parsed(report_html(replace(summary, about={"data": {"old": "abc"}, "cpu": None, "libraries": ["a", "b"]})))
    told = dict(rows_of(root, "about"))
    assert told["data old"] == "abc"
    assert told["cpu"] == "—"
    assert told["libraries"] == "a, b"
    assert told["seed"] == str(summary.seed)


def test_hostile_texts_arrive_as_they_are_and_as_nothing_but_text(summary):
    root = parsed(report_html(with_hostile_ids(summary)))
    assert text(classed(root, "cautions")[0].find("ul/li")) == HOSTILE
    assert rows_of(root, "gates")[1][1] == HOSTILE
    assert [item.get("title") for item in classed(root, "asked")[0].iter("span")] == [HOSTILE]


@given(st.text(st.characters(exclude_characters="\r", exclude_categories=("Cs",))))
def test_any_text_comes_back_from_an_element(words):
    found = text(ET.fromstring(element("p", words, title=words)))
    assert [a for a, b in zip(found, words, strict=True) if a != b and a != "\ufffd"] == []


def test_characters_that_no_document_holds_are_replaced():
    assert text(ET.fromstring(element("p", "a\x00b\ud800c\x1bd"))) == "a\ufffdb\ufffdc\ufffdd"


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 9))
def test_ticks_are_few_in_order_and_within_their_bounds(low, span, most):
    found = ticks(low, low + span, most=most)
    assert 1 <= len(found) <= most
    assert found == sorted(found)
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in found)


def test_a_curve_starts_and_ends_where_its_figures_are():
    intervals = tuple(Interval(v, v - 0.1, v + 0.1) for v in (0.25, 0.5, 0.75))
    curve = Curve("t2i", "random", (0.0, 0.5, 1.0), intervals, 0.5)
    drawn = ET.fromstring(curve_chart([curve], "R@10", title="curve", old=0.25, new=0.75))
    points = [tuple(map(float, p.split(","))) for p in classed(drawn, "line")[0].get("points").split()]
    old, new = (float(level.get("y1")) for level in classed(drawn, "level"))
    assert [points[0][1], points[-1][1]] == pytest.approx([old, new], abs=0.02)
    assert points[1] == pytest.approx(tuple((a + b) / 2 for a, b in zip(points[0], points[2], strict=True)), abs=0.02)
    assert len(classed(drawn, "band")[0].get("points").split()) == 6


def test_a_curve_of_one_figure_is_a_dot():
    curve = Curve("t2i", "random", (0.0,), (Interval(0.5, 0.4, 0.6),), 0.5)
    first, last = classed(ET.fromstring(curve_chart([curve], "R@10", title="curve")), "line")[0].get("points").split()
    assert first == last


def test_orders_differ_in_more_than_a_name(summary):
    root = parsed(report_html(summary))
    lines = [node.get("class") for node in root.iter("polyline")][:2]
    assert lines == ["line series-0", "line series-1"]
    assert ".line.series-1 { stroke: var(--series-1); stroke-dasharray" in text(root.find("head/style"))


def test_right_hits_stand_above_the_line_and_wrong_ones_below():
    histogram = Histogram("t2i", "old/old", (0.0, 1.0, 2.0), (2, 0), (1, 4))
    drawn = ET.fromstring(histogram_chart(histogram, tallest=4, title="scores"))
    right, wrong = (classed(drawn, kind)[-1].get("d") for kind in ("right", "wrong"))
    assert right.count("M") == 1
    assert wrong.count("M") == 2
    assert "V68.00" in right  # 94, less half of 52
    assert "V107.00" in wrong
    assert "V146.00" in wrong


def test_old_and_bridged_scores_share_their_scale(summary):
    root = parsed(report_html(summary))
    old, bridged, new = list(classed(root, "panels")[0])
    marks = [[(t.get("x"), t.text) for t in chart.iter("text")][3:] for chart in (old, bridged, new)]
    assert marks[0] == marks[1] != marks[2]


def test_an_interval_beside_no_change_lies_on_its_side():
    drawn = ET.fromstring(interval_bar(Interval(0.2, 0.1, 0.3), span=(-0.3, 0.3), title="change"))
    zero = float(classed(drawn, "frame")[0].get("x1"))
    span = classed(drawn, "span")[0]
    assert zero < float(span.get("x1")) < float(classed(drawn, "dot")[0].get("cx")) < float(span.get("x2"))


@pytest.fixture
def folder(tmp_path):
    """Pictures, and things that are none, beside a picture that is nobody's business."""
    inside = tmp_path / "items"
    (inside / "deep").mkdir(parents=True)
    Image.new("RGB", (400, 200), (200, 30, 30)).save(inside / "photo.jpg")
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(inside / "deep" / "clear.PNG")
    Image.new("L", (10, 10)).save(tmp_path / "secret.png")
    (inside / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (inside / "note.txt").write_text("text")
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    (inside / "folder.png").mkdir()
    return inside


def test_pictures_are_embedded_small(folder, summary):
    flip = replace(summary.flips[0], query="deep/clear.PNG", right=("photo.jpg",), old_hits=("photo.jpg", "note.txt"))
    root = parsed(report_html(replace(summary, flips=(flip,), wins=()), show=pictures_from(folder)))
    images = list(root.iter("img"))
    assert [image.get("alt") for image in images] == ["deep/clear.PNG", "✓ photo.jpg", "✓ photo.jpg"]
    opened = [Image.open(io.BytesIO(base64.b64decode(i.get("src").partition(",")[2]))) for i in images]
    assert [(i.format, i.size) for i in opened] == [("PNG", (64, 64)), ("JPEG", (128, 64)), ("JPEG", (128, 64))]
    assert opened[0].getpixel((5, 5))[3] == 0
    assert images[1].get("src").startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(
    "item",
    [
        "../secret.png", "deep/../../secret.png", "link.png", "broken.png", "note.txt", "folder.png", "missing.png",
        "", ".", "a\x00.png", "x" * 5_000 + ".png", "https://example.org/a.png",
    ],
)  # fmt: skip
def test_what_is_no_picture_below_the_folder_stays_text(folder, item):
    assert pictures_from(folder)(item) == item


def test_an_absolute_path_stays_text_even_where_it_leads_into_the_folder(folder):
    item = str(folder / "photo.jpg")
    assert pictures_from(folder)(item) == item


def test_without_pillow_small_files_are_embedded_as_they_are(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    (folder / "large.jpg").write_bytes(b"x" * 200_000)
    show = pictures_from(folder)
    assert show("photo.jpg") == Picture((folder / "photo.jpg").read_bytes(), "image/jpeg")
    assert show("deep/clear.PNG").media_type == "image/png"
    assert show("large.jpg") == "large.jpg"
    assert show("../secret.png") == "../secret.png"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_picture_of_any_mode_is_shown_or_its_name_is(folder, mode):
    Image.new(mode, (300, 150)).save(folder / "mode.png")
    found = pictures_from(folder)("mode.png")
    assert found == "mode.png" or Image.open(io.BytesIO(found.data)).size == (128, 64)
    assert isinstance(found, Picture) or mode.startswith("I")


def test_pictures_stand_upright(folder):
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[0x0112] = 6  # taken with the camera turned
    image.save(folder / "turned.jpg", exif=exif)
    found = pictures_from(folder)("turned.jpg")
    assert Image.open(io.BytesIO(found.data)).size == (20, 40)


def test_a_folder_that_is_none_and_a_media_type_that_is_no_picture_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="is not a folder"):
        pictures_from(tmp_path / "none")
    with pytest.raises(InvalidInput, match="came 'text/html'"):
        Picture(b"<script>", "text/html")


def test_show_is_asked_once_an_item_and_its_text_is_shown(summary):
    asked = []

    def show(item):
        asked.append(item)
        return f"text of {item}"

    root = parsed(report_html(summary, show=show))
    assert len(asked) == len(set(asked))
    assert text(classed(root, "asked")[0]).startswith(f"text of {summary.flips[0].query}")


def test_a_page_is_saved_whole_or_not_at_all(summary, tmp_path):
    path = tmp_path / "new" / "report.html"
    save_html(path, summary)
    written = path.read_text(encoding="utf-8")
    assert written == report_html(summary)

    def fails(item):
        raise RuntimeError(f"no {item}")

    with pytest.raises(RuntimeError, match="no caption"):
        save_html(path, summary, show=fails)
    assert path.read_text(encoding="utf-8") == written
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


@pytest.fixture(scope="module")
def browser():
    with started_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(summary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    Image.new("RGB", (300, 200), (200, 30, 30)).save(folder / "photo.jpg")
    for name, variant in VARIANTS.items():
        save_html(folder / f"{name}.html", variant(summary))
    flips = tuple(replace(f, query="photo.jpg", new_hits=("photo.jpg",) * 5) for f in summary.flips)
    save_html(folder / "pictures.html", replace(summary, flips=flips), show=pictures_from(folder))
    return folder


@pytest.fixture(scope="module")
def opened(browser, pages):
    """Open a page, in one tab for all; whatever it asks for, says or shows up is kept."""
    tab, heard = browser.new_page(), []
    tab.on("request", lambda r: heard.append(r.url) if not r.url.startswith("data:image/") else None)
    tab.on("console", lambda message: heard.append(message.text))
    tab.on("pageerror", lambda error: heard.append(str(error)))
    tab.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))

    def open_page(name, width, scheme="light"):
        heard.clear()
        tab.set_viewport_size({"width": width, "height": 900})
        tab.emulate_media(media="screen", color_scheme=scheme)
        address = (pages / f"{name}.html").as_uri()
        tab.goto(address)
        return tab, [thing for thing in heard if thing != address]

    return open_page


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", [*VARIANTS, "pictures"])
def test_a_browser_shows_it_all_without_sideways_scrolling(opened, name, width, scheme):
    page, heard = opened(name, width, scheme)
    assert heard == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    box = page.locator(".verdict").bounding_box()
    assert 0 <= box["y"] < 200
    assert page.locator(".verdict").is_visible()
    poor = [(found, tag, round(ratio, 2)) for found, tag, ratio in page.evaluate(CONTRASTS) if ratio < 4.5]
    assert poor == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["whole", "extremes", "hostile", "pictures"])
def test_drawings_and_pictures_have_a_size_and_their_words_stay_inside(opened, name, width):
    page, _ = opened(name, width)
    sizes = page.evaluate("[...document.querySelectorAll('svg, img')].map(e => e.getBoundingClientRect().toJSON())")
    assert sizes
    assert min(min(s["width"], s["height"]) for s in sizes) > 0
    outside = page.evaluate(
        """[...document.querySelectorAll('svg.chart text')].filter(t => {
             const inner = t.getBoundingClientRect(), outer = t.closest('svg').getBoundingClientRect();
             return inner.left < outer.left - 1 || inner.right > outer.right + 1
                 || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
           }).map(t => t.textContent)"""
    )
    assert outside == []
    smallest = page.evaluate(
        """Math.min(...[...document.querySelectorAll('svg.chart text')].map(t => t.getBoundingClientRect().height))"""
    )
    assert smallest >= 11
    if name == "pictures":
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whole", "extremes", "thirty slices"])
def test_words_of_a_drawing_do_not_cover_each_other(opened, name):
    page, _ = opened(name, 390)
    covering = page.evaluate(
        """[...document.querySelectorAll('svg.chart')].flatMap(svg => {
             const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
             return texts.flatMap(([a, p], i) => texts.slice(i + 1).filter(([b, q]) =>
               p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 3 && q.top < p.bottom - 3
             ).map(([b]) => [a, b]));
           })"""
    )
    assert covering == []


@pytest.mark.slow
def test_a_table_scrolls_by_keyboard_in_a_box_of_its_own(opened):
    page, _ = opened("whole", 390)
    box = page.locator(".wide").nth(1)
    assert box.evaluate("e => e.scrollWidth > e.clientWidth")
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("e => e.scrollLeft > 0", arg=box.element_handle())
    assert page.evaluate("document.scrollingElement.scrollLeft") == 0


@pytest.mark.slow
def test_on_paper_it_is_dark_on_white_and_no_table_is_cut_off(opened):
    a4_within_margins = 718
    page, _ = opened("whole", a4_within_margins, "dark")
    page.emulate_media(media="print")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= a4_within_margins
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert min(ratio for _, _, ratio in page.evaluate(CONTRASTS)) >= 4.5
