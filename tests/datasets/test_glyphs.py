import random
import unicodedata

import numpy as np
import pytest

from embridge.datasets import glyphs


@pytest.fixture(scope="module")
def everything():
    return glyphs.render()


def test_captions_are_unicode_names():
    assert glyphs.caption(0x265B) == "black chess queen"
    few = glyphs.render([0xE9, 0x41])
    assert set(few.captions) == {"latin capital letter a", "latin small letter e with acute"}
    assert few.captions == [unicodedata.name(chr(c)).lower() for c in few.code_points]


def test_the_drawn_characters_are_named_ordered_and_unique():
    drawn = glyphs.drawn_code_points()
    assert 7_300 < len(drawn) < 7_420
    assert list(drawn) == sorted(set(drawn))
    assert all(unicodedata.category(chr(c))[0] not in "ZC" for c in drawn)
    assert {0x41, 0xE9, 0x265B, 0x3B1} <= set(drawn)
    assert not {0x20, 0x2800, 0x4E00} & set(drawn)


def test_the_parts_share_no_code_point_and_leave_none_out():
    parts = glyphs.split()
    assert (len(parts["test"]), len(parts["validation"])) == (1_000, 500)
    joined = [c for part in parts.values() for c in part]
    assert len(joined) == len(set(joined))
    assert sorted(joined) == list(glyphs.drawn_code_points())


@pytest.mark.slow
def test_the_split_is_the_same_for_any_order():
    shuffled = list(glyphs.drawn_code_points())
    random.Random(0).shuffle(shuffled)
    assert glyphs.split(shuffled) == glyphs.split() == glyphs.split(iter(shuffled))


def test_the_split_is_the_same_for_ever():
    parts = glyphs.split(range(0x4E00, 0x4E00 + 2_000))
    assert parts["validation"][:5] == [0x4E0D, 0x4E15, 0x4E1A, 0x4E1E, 0x4E21]
    assert parts["test"][-1] == 0x55CF


def test_held_out_characters_stay_so_where_training_ones_are_left_out():
    parts = glyphs.split()
    fewer = glyphs.split([*parts["test"], *parts["validation"], *parts["train"][:100]])
    assert (fewer["test"], fewer["validation"]) == (parts["test"], parts["validation"])


def test_no_held_out_character_is_drawn_among_the_training_ones():
    parts = glyphs.split()
    drawn = glyphs.render(parts["train"][:50])
    assert set(drawn.code_points.tolist()) == set(parts["train"][:50])
    assert not set(drawn.code_points.tolist()) & {*parts["test"], *parts["validation"]}


@pytest.mark.slow
def test_drawing_twice_gives_the_same_bytes():
    chosen = glyphs.split()["test"][:40]
    once, twice = glyphs.render(chosen), glyphs.render(reversed(chosen))
    assert once.images.tobytes() == twice.images.tobytes()
    assert once.code_points.tobytes() == twice.code_points.tobytes()
    assert once.fonts == twice.fonts


@pytest.mark.slow
def test_one_each_draws_every_held_out_character_once_and_in_dejavu_sans_first():
    chosen = glyphs.split()["test"][::4]
    alone, all_fonts = glyphs.render(chosen, one_each=True), glyphs.render(chosen)
    assert alone.code_points.tolist() == chosen
    in_first_font = {
        int(c) for c, font in zip(all_fonts.code_points, all_fonts.fonts, strict=True) if font == "DejaVuSans"
    }
    assert 150 < len(in_first_font) < 250
    for code_point, font in zip(chosen, alone.fonts, strict=True):
        assert (font == "DejaVuSans") is (code_point in in_first_font)
    row_of = {name: row for row, name in enumerate(all_fonts.ids)}
    np.testing.assert_array_equal(alone.images, all_fonts.images[[row_of[name] for name in alone.ids]])


def test_images_have_ink_and_fit():
    drawn = glyphs.render(glyphs.split()["validation"], one_each=True)
    assert (drawn.images.dtype, drawn.images.shape) == (np.uint8, (500, 32, 32))
    assert (drawn.images.reshape(500, -1).max(1) > 0).all()
    assert (drawn.images[:, 0].max(1) == 255).mean() < 0.1, "few glyphs touch the edge"


def test_a_letter_is_drawn_where_it_belongs():
    """White on black, centred across, standing on the baseline; a comma hangs below the height of a letter."""
    letter, comma = glyphs.render([ord("H"), ord(",")], one_each=True).take(np.array([1, 0])).images
    rows, columns = np.flatnonzero(letter.any(1)), np.flatnonzero(letter.any(0))
    assert rows[-1] == glyphs._BASELINE_PIXELS - 1
    assert abs((columns[0] + columns[-1]) / 2 - 15.5) <= 1
    assert letter[rows[0] : rows[-1], columns[0] + 1].min() > 200
    assert np.flatnonzero(comma.any(1))[0] > rows[0] + 8
    assert np.flatnonzero(comma.any(1))[-1] > rows[-1]


def test_no_characters_give_no_images():
    nothing = glyphs.render([])
    assert (nothing.images.shape, nothing.captions, nothing.ids) == ((0, 32, 32), [], [])


def test_a_character_that_no_font_has_gives_no_image():
    assert glyphs.render([0x4E00, ord("A")], one_each=True).code_points.tolist() == [ord("A")]


def test_rows_are_taken_in_the_order_asked_for():
    drawn = glyphs.render([0x41, 0x42, 0x43], one_each=True)
    assert drawn.ids == ["U+0041/DejaVuSans", "U+0042/DejaVuSans", "U+0043/DejaVuSans"]
    taken = drawn.take(np.array([2, 0]))
    assert taken.ids == ["U+0043/DejaVuSans", "U+0041/DejaVuSans"]
    np.testing.assert_array_equal(taken.images, drawn.images[[2, 0]])


@pytest.mark.slow
def test_undrawn_names_are_a_text_only_corpus():
    names = glyphs.undrawn_names()
    assert 24_000 < len(names) < 32_000, "it grows with the Unicode tables of newer Pythons"
    assert names == sorted(set(names))
    assert not set(names) & {glyphs.caption(c) for c in glyphs.drawn_code_points()}
    assert not [name for name in names if name.startswith(("cjk unified", "hangul syllable"))]
    assert {"accordion", "braille pattern blank"} <= set(names)


@pytest.mark.slow
def test_everything_drawn(everything):
    assert 54_000 < len(everything.images) < 55_500
    assert set(everything.code_points.tolist()) == set(glyphs.drawn_code_points())
    assert len(set(everything.ids)) == len(everything.ids) == len(everything.images)
    assert (everything.images.reshape(len(everything.images), -1).max(1) > 0).all()
    assert (np.diff(everything.code_points) >= 0).all()


@pytest.mark.slow
def test_renderings_of_one_character_look_alike(everything):
    """Renderings of a character in two fonts are nearer to each other than those of two characters, on average."""
    rows = np.flatnonzero(np.diff(everything.code_points) == 0)[::20]
    pixels = everything.images.reshape(len(everything.images), -1).astype(np.float32)
    same = np.abs(pixels[rows] - pixels[rows + 1]).mean()
    other = np.abs(pixels[rows] - pixels[np.roll(rows, 1)]).mean()
    assert same < 0.6 * other
