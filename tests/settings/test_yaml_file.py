"""What is no settings file is told in one line, which says where and what to do; nothing is read as something else."""

import pytest

from embridge.errors import SettingsError
from embridge.settings import ModelSettings, load_settings, load_training_settings
from embridge.settings.reading import Strict, read_settings

RIGHT = "old: clip:a\nnew: clip:b\n"


class Kinds(Strict):
    text: str = ""
    whole: int = 0
    number: float = 0.0
    flag: bool = False
    names: tuple[str | int, ...] = ()


def read(tmp_path, content, kind=Kinds):
    path = tmp_path / "settings.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_settings(path, kind)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("1234567", "the number 1234567"),
        ("012", "the number 10"),
        ("1:30", "the number 90"),
        ("1.50", r"the number 1\.5"),
        (".inf", "the number inf"),
        ("2026-03-01", "the date 2026-03-01"),
        ("2026-03-01 10:00:00", "the date 2026-03-01 10:00:00"),
        ("no", "the boolean false"),
        ("on", "the boolean true"),
    ],
)
def test_what_yaml_reads_as_something_else_than_text_is_refused_where_text_is_meant(tmp_path, line, kind):
    with pytest.raises(SettingsError, match=f"text: expected text; YAML reads {kind} there, put it in quotes$"):
        read(tmp_path, f"text: {line}")
    assert read(tmp_path, f"text: '{line}'").text == line


@pytest.mark.parametrize("line", ["whole: yes", "number: off", "names: [no, a]", "names: [a, true]"])
def test_a_boolean_is_no_number(tmp_path, line):
    with pytest.raises(
        SettingsError, match=r"YAML reads the boolean (true|false) there; put it in quotes if it is text"
    ):
        read(tmp_path, line)
    assert read(tmp_path, "flag: on\nnumber: 1\nnames: [a, 1]").names == ("a", 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected keys such as text, whole, number; came nothing"),
        ("- a\n- b", "came a list"),
        ("hello", "came a text"),
        ("12", "came the number 12"),
        ("a: [", "line 1, column 5: while parsing a flow"),
        ("text: a\n\tb: c", "line 2, column 1: while scanning"),
        ("text: a\ntext: b", "line 2: the key 'text' stands there twice"),
        ("text: a\n---\ntext: b", "line 2, column 1: expected a single document"),
        (
            "text: !!python/object/apply:os.system ['true']",
            r"line 1, column 7: could not determine a constructor for the tag",
        ),
        ("text: !mine a", "could not determine a constructor for the tag '!mine'"),
        ("text: a\0b", "unacceptable character"),
        ('text: "a\\0b"', "line 1: a text holds NUL or half a character"),
        ('text: "\\ud83d"', "line 1: a text holds NUL or half a character"),
        ('"a\\0": b', "line 1: a text holds NUL or half a character"),
        ("text: 2026-13-45", "line 1: '2026-13-45' is none of what it looks like .*; put it in quotes"),
        ("whole: " + "9" * 5_000, "line 1: '9{40}' is none of what it looks like .*; put it in quotes"),
        ("whole: " + "9" * 4_000, "line 1: 9{40}… is too large a number; put it in quotes"),
        ("whole: 0x" + "f" * 5_000, "line 1: .*… is too large a number"),
        ("? [a, b]\n: c", "found unhashable key"),
        ("text: *nobody", "found undefined alias"),
        ("text: &a [*a]", "line 1: an alias stands within what it names"),
        ("text: &a {b: *a}", "line 1: an alias stands within what it names"),
        ("text: " + "[" * 5_000, "it is nested too deeply"),
        ("#" * (1 << 22) + "\n", "it is larger than 4 MiB"),
        (b"text: \xff\xfe", "is not UTF-8 text .*; save it as UTF-8"),
        (RIGHT.encode("utf-16"), "is not UTF-8 text"),
        ("no: a", "keys that are text; YAML reads the boolean false as one, put it in quotes"),
        ("txet: a", "txet: there is no such key; did you mean text"),
        ("whole: [1]", "whole: Input should be a valid integer"),
    ],
)
def test_what_is_no_settings_file_is_one_line(tmp_path, content, message):
    with pytest.raises(SettingsError, match=message) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'settings.yaml'}")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("value", ["[{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]", "{{<<: [{0}, {0}, {0}, {0}]}}"])
def test_aliases_that_grow_without_end_are_refused(tmp_path, value):
    lines = ["a0: &a0 {b: c}"] + [f"a{i}: &a{i} {value.format(f'*a{i - 1}')}" for i in range(1, 12)]
    with pytest.raises(SettingsError, match=r"more than 200,000 values, with its aliases written out"):
        read(tmp_path, "\n".join(lines))


def test_aliases_and_merged_keys_are_allowed(tmp_path):
    text = "old: &model {encoder: clip:a/b, batch_size: 7}\nnew: {<<: *model, encoder: clip:c/d}\n"
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    assert load_settings(path).new == ModelSettings(encoder="clip:c/d", batch_size=7)


def test_a_mark_of_the_byte_order_is_passed_over(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + RIGHT.encode())
    assert load_settings(path).old.encoder == "clip:a"


@pytest.mark.parametrize("read_kind", [load_settings, load_training_settings])
def test_a_folder_a_missing_file_and_a_name_that_is_too_long_are_told(tmp_path, read_kind):
    with pytest.raises(SettingsError, match=r"cannot be read as YAML: .*Is a directory"):
        read_kind(tmp_path)
    with pytest.raises(SettingsError, match=r"nowhere\.yaml does not exist; expected a YAML settings file"):
        read_kind(tmp_path / "nowhere.yaml")


def test_a_path_that_is_too_long_is_told(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(f"data: {{images: {'x' * 5_000}}}\nobjective: independent\n")
    with pytest.raises(SettingsError, match="File name too long"):
        load_training_settings(path)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_draws_cannot_begin_with_is_refused(tmp_path, seed):
    path = tmp_path / "settings.yaml"
    path.write_text(f"{RIGHT}fit: {{seed: {seed}}}\n")
    with pytest.raises(SettingsError, match=r"fit\.seed: Input should be (greater|less) than"):
        load_settings(path)
