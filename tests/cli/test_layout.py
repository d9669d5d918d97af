"""Tables at the width of a terminal: nothing is wider, no figure is cut, no text is lost."""

import re

import pytest
from rich.cells import cell_len

from embridge.cli._layout import parts
from embridge.cli._terminal import print_table

MODEL = "openai/clip-vit-large-patch14-336-and-a-longer-name-that-never-ends@32bd64288804d66eefd0ccbe"
METRICS = ["R@1", "R@5", "R@10", "better R@10", "nDCG@10", "MAP@100", "flips"]
FIGURES = ["0.123 ±.012", "0.234 ±.023", "1.000 ±.000", "undecided", "0.345 ±.034", "12,345.6", "−.775 +.101"]
TABLES = {
    "many metrics": (["query/gallery", *METRICS], [["new/old", *FIGURES], [MODEL, *FIGURES]]),
    "facts": (["", ""], [["from", MODEL], ["rows", "54,600"], ["look at", "one vector stands in 12 of 54,600 rows"]]),
    "hits": (["", "id", "score", "title"], [["1", MODEL, "0.98765", "a title of [brackets] and words"]]),
    "wide signs": (["id", "R@1"], [["日本語の長い題名がここにあります", "0.500"]]),
}


def words(text):
    return text.replace("─", " ").split()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_fits_and_keeps_all_it_says(name, width, monkeypatch, capsys):
    columns, rows = TABLES[name]
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(columns, rows, title="A title")
    shown = capsys.readouterr().out
    assert max(map(cell_len, shown.splitlines())) <= width
    for row in rows:
        for cell in row:
            for word in cell.split():
                if cell_len(word) <= 20:
                    assert word in words(shown)
    letters = re.sub(r"\s", "", shown)
    assert all(letters.count(sign) > 0 for row in rows for cell in row for sign in set(cell) - {" "})


def test_a_long_name_is_broken_and_not_cut(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    print_table(["", ""], [["from", MODEL]])
    cells = [line.split()[-1] for line in capsys.readouterr().out.splitlines() if line.strip(" ─")]
    assert "".join(cells) == MODEL


def test_what_does_not_fit_goes_into_a_further_part_with_the_first_column(monkeypatch, capsys):
    columns, rows = TABLES["many metrics"]
    assert [[c.number for c in part] for part in parts(columns, rows, 40)][1][0] == 0
    monkeypatch.setenv("COLUMNS", "40")
    print_table(columns, rows, title="Cells")
    shown = capsys.readouterr().out
    assert shown.count("new/old") == len(parts(columns, rows, 40)) > 1
    assert "(continued)" in shown


def test_a_file_gets_the_table_in_one_part(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    columns, rows = TABLES["many metrics"]
    print_table(columns, rows)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if MODEL in line]
    assert all(figure in line for figure in FIGURES)


def test_texts_are_read_from_the_left_and_figures_from_the_right():
    (part,) = parts(*TABLES["hits"], 200)
    assert [column.is_text for column in part] == [True, True, False, True]
