"""Texts from outside do nothing where they are shown: a terminal obeys none, Markdown and HTML make nothing of them."""

import re

import pytest

from embridge._plain_text import markdown_text, one_line, spelling_hint, visible
from embridge.evaluation.render._markup import element
from embridge.evaluation.render.markdown import tables_markdown
from embridge.evaluation.render.terminal import ReportTable

CONTROLS = "\x00\x07\x1b\x7f\x9b\r\n\t\u2028\u202e\u2066\ud800"


def test_what_a_terminal_obeys_is_written_out_and_the_rest_is_kept():
    assert visible(CONTROLS) == r"\x00\x07\x1b\x7f\x9b\r\n\t\u2028\u202e\u2066\ud800"
    kept = "naïve 猫 👩‍💻 עברית ±− [bold] <b> \\ `x`"
    assert visible(kept) == one_line(kept) == kept


def test_ids_in_another_normal_form_are_told_of():
    assert "'café' is there in another normal form" in spelling_hint(["x", "café"], ["x2", "cafe\u0301"])
    assert "is there in another normal form" in spelling_hint(["cafe\u0301"], ["café"])
    assert spelling_hint(["x", "café"], ["cafe", "X"]) == spelling_hint([], ["a"]) == spelling_hint(["é"], []) == ""


def test_the_lines_of_a_message_are_joined():
    assert one_line("a  b\n   c\r\n\n d\x1b\n") == r"a  b c d\x1b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>", r"\<script>"),
        ("![x](http://h/p.png)", r"!\[x\](http://h/p.png)"),
        ("a|b", r"a\|b"),
        ("`code` ~~gone~~ **bold** _slant_", r"\`code\` \~\~gone\~\~ \*\*bold\*\* \_slant\_"),
        ("&lt;b&#62;", r"\&lt;b\&#62;"),
        ("a\n# b", "a # b"),
        (r"C:\x", r"C:\\x"),
        ("recall_at_10 new/old >= 0.98 * old/old & more", "recall_at_10 new/old >= 0.98 * old/old & more"),
    ],
)
def test_markdown_shows_a_text_as_it_is(text, shown):
    assert markdown_text(text) == shown


def test_a_table_in_markdown_keeps_its_cells_whatever_they_hold():
    hostile = "a | b\n| c |\n<b>"
    lines = tables_markdown([ReportTable(hostile, [hostile, "n"], [[hostile, "1"]])]).splitlines()
    assert lines[0] == r"a \| b \| c \| \<b>:"
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines[2:]] == [3, 3, 3]


def test_a_page_shows_no_control_characters_and_no_turned_writing():
    assert (
        element("td", f"{CONTROLS}<b>")
        == "<td>\ufffd\ufffd\ufffd\ufffd\ufffd\r\n\t\u2028\ufffd\ufffd\ufffd&lt;b&gt;</td>"
    )
