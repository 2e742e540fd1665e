"""Text for a terminal: aligned, and inert whatever strangers called themselves."""

import json

import pytest

from shoal_server.commands.plain import as_json, duration, facts, safe, table

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b1A\r\n\u202egpj.exe\u200b\x7f\ud800"


def test_what_could_move_the_cursor_is_written_out() -> None:
    shown = safe(HOSTILE)
    assert shown.isprintable()
    assert shown.startswith("\\x1b]0;owned\\x07")
    for written in ("\\x9b", "\\r", "\\n", "\\u202e", "\\u200b", "\\x7f", "\\ud800"):
        assert written in shown


def test_letters_of_all_writings_stay_as_they_are() -> None:
    assert safe("Zürich 東京 Genève") == "Zürich 東京 Genève"


def test_a_table_has_one_line_a_row_whatever_stands_in_it() -> None:
    text = table(["a", "b"], [[HOSTILE, 1], ["short", 200]])
    assert len(text.splitlines()) == 3
    assert text.replace("\n", "").isprintable()


def test_columns_stand_under_their_heads_and_numbers_to_the_right() -> None:
    assert table(["name", "km"], [["a", 5], ["longer", 1234.5], ["b", None]]) == (
        "name        km\na            5\nlonger  1234.5\nb            -\n"
    )


def test_wide_and_combining_letters_keep_the_columns() -> None:
    lines = table(["place", "x"], [["東京", "1"], ["Gene\u0300ve", "2"]]).splitlines()
    assert lines == ["place   x", "東京    1", "Gene\u0300ve  2"]


def test_facts_stand_in_two_columns() -> None:
    assert facts([("a", 1), ("longer", None)]) == "a       1\nlonger  -\n"


def test_json_is_ascii_without_control_characters_and_means_the_same() -> None:
    text = as_json({"name": HOSTILE})
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert json.loads(text) == {"name": HOSTILE}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (12, "12 s"),
        (185, "3 min 5 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (187_200, "2 d 4 h"),
    ],
)
def test_a_span_of_time_is_told_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
