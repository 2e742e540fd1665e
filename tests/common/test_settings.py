"""One declaration gives flags, variables, file keys and the sample; every mistake is told, all at once."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_common import kinds
from shoal_common.errors import SettingsError
from shoal_common.hosts import HostPort
from shoal_common.settings import Loaded, Settings, Values, add_flags, load, sample, setting
from tests.common.properties import PROPERTY


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Example(Settings):
    DEAD: ClassVar[Mapping[str, str]] = {"general.cloud": "nobody reads it"}

    listen: HostPort = setting(
        "http", HostPort("127.0.0.1", 8080), kinds.host_port(), "Where to listen.", flags=("-l", "--listen")
    )
    interval: float = setting(
        "general", 30.0, kinds.number(1, 3600, "seconds"), "Time between heartbeats.", was=("general.period",)
    )
    share: float = setting("general", 1234567.25, kinds.number(0, 1e9, "kB/s"), "Up to 100% of it.")
    caches: int = setting("general", 2, kinds.whole(1, 9), "How many.", flags=("-n", "--caches"))
    verbose: bool = setting("general", False, kinds.yes_no(), "Say more.")
    colour: Colour = setting("look", Colour.RED, kinds.one_of(Colour), "Of the page.")
    title: str = setting("look", "50% more; ok", kinds.text(), "Of the page.")
    limit: int | None = setting("look", None, kinds.optional(kinds.whole(1, 9), "no limit"), "Of lines.")
    servers: tuple[str, ...] = setting(
        "net",
        ("http://a/nearest", "http://b"),
        kinds.several(kinds.url("http", "https")),
        "Whom to ask.",
        flags=("-s", "--server"),
        was=("general.shoal_server_url", "general.url"),
    )

    @classmethod
    def compose(cls, values: Values) -> tuple[Values, list[str]]:
        rest = dict(values)
        host = rest.pop("old.host", None)
        if host is None:
            return rest, []
        rest.setdefault("http.listen", f"{host}:80")
        return rest, ["[old] host: write [http] listen"]


def read(
    file: Path | None = None,
    text: str | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded[Example]:
    if file and text is not None:
        file.write_text(text, encoding="utf-8")
    return load(Example, flags=flags or {}, environ=environ or {}, path=file, usual=[])


def mistakes_in(*args: Any, **kwargs: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read(*args, **kwargs)
    return caught.value.mistakes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "example.conf"


# --- who wins ---------------------------------------------------------------------------------------


def test_with_nothing_said_the_defaults_hold() -> None:
    assert read() == Loaded(Example(), (), None)


def test_the_file_wins_over_the_default(file: Path) -> None:
    assert read(file, "[general]\ninterval = 10\n").settings.interval == 10


def test_the_environment_wins_over_the_file(file: Path) -> None:
    loaded = read(file, "[general]\ninterval = 10\n", environ={"SHOAL_INTERVAL": "20"})
    assert loaded.settings.interval == 20


def test_the_flag_wins_over_the_environment(file: Path) -> None:
    loaded = read(
        file, "[general]\ninterval = 10\n", environ={"SHOAL_INTERVAL": "20"}, flags={"interval": "40"}
    )
    assert loaded.settings.interval == 40


def test_a_flag_that_was_not_given_wins_over_nothing() -> None:
    assert read(flags={"interval": None}, environ={"SHOAL_INTERVAL": "20"}).settings.interval == 20


def test_variables_are_named_after_the_long_flag() -> None:
    assert read(environ={"SHOAL_SERVER": "http://c"}).settings.servers == ("http://c",)


def test_variables_of_others_are_nothing_to_us() -> None:
    assert read(environ={"SHOAL_OTHER": "x", "INTERVAL": "x"}).settings == Example()


# --- which file -------------------------------------------------------------------------------------


def test_the_first_usual_file_that_exists_is_read(tmp_path: Path) -> None:
    second, third = tmp_path / "second", tmp_path / "third"
    second.write_text("[general]\ncaches = 3\n")
    third.write_text("[general]\ncaches = 4\n")
    loaded = load(Example, flags={}, environ={}, path=None, usual=[tmp_path / "first", second, third])
    assert (loaded.settings.caches, loaded.path) == (3, second)


def test_a_usual_file_may_be_missing(tmp_path: Path) -> None:
    assert load(Example, flags={}, environ={}, path=None, usual=[tmp_path / "none"]).path is None


def test_a_named_file_may_not_be_missing(file: Path) -> None:
    (mistake,) = mistakes_in(file)
    assert mistake == f"{file}: No such file or directory"


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (mistake,) = mistakes_in(tmp_path)
    assert mistake.startswith(f"{tmp_path}: ")


def test_a_file_that_is_not_utf_8_is_told(file: Path) -> None:
    file.write_bytes(b"[look]\ntitle = \xff\n")
    (mistake,) = mistakes_in(file)
    assert mistake.startswith(f"{file}: ")


# --- what a file may say ----------------------------------------------------------------------------


def test_percent_signs_and_semicolons_are_just_text(file: Path) -> None:
    assert read(file, "[look]\ntitle = 100%(x)s ; %% #1\n").settings.title == "100%(x)s ; %% #1"


def test_a_list_is_separated_by_blanks_commas_or_lines(file: Path) -> None:
    text = "[net]\nservers = http://a, http://b\n  http://c\thttp://d\n"
    assert read(file, text).settings.servers == ("http://a", "http://b", "http://c", "http://d")


def test_a_flag_that_is_repeated_is_a_list() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, Example)
    flags = vars(parser.parse_args(["-s", "http://a", "--server", "http://b"]))
    assert read(flags=flags).settings.servers == ("http://a", "http://b")


@pytest.mark.parametrize("word", ["yes", "True", "on", "1"])
def test_yes_is_said_in_the_words_of_old_files(file: Path, word: str) -> None:
    assert read(file, f"[general]\nverbose = {word}\n").settings.verbose is True


def test_an_optional_value_may_be_empty(file: Path) -> None:
    assert read(file, "[look]\nlimit =\n").settings.limit is None


def test_keys_are_read_in_any_case(file: Path) -> None:
    assert read(file, "[general]\nCaches = 3\n").settings.caches == 3


# --- mistakes ---------------------------------------------------------------------------------------


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    mistakes = mistakes_in(
        file,
        "[general]\ninterval = soon\nintervall = 3\n[lok]\ncolour = red\n[look]\ncolour = green\n",
        environ={"SHOAL_CACHES": "99"},
        flags={"listen": "nowhere"},
    )
    assert len(mistakes) == 6
    told = "\n".join(mistakes)
    for word in ("interval", "intervall", "[lok]", "colour", "SHOAL_CACHES", "--listen"):
        assert word in told


def test_mistakes_in_flags_are_told_even_when_the_file_cannot_be_read(file: Path) -> None:
    assert len(mistakes_in(file, "nonsense", flags={"caches": "0"})) == 2


def test_a_bad_value_is_told_with_file_section_key_and_what_is_allowed(file: Path) -> None:
    (mistake,) = mistakes_in(file, "[general]\ncaches = many\n")
    assert mistake == f"{file}: [general] caches: 'many' will not do; it takes a whole number from 1 to 9"


def test_a_bad_value_under_an_old_name_is_told_by_the_name_that_stands_in_the_file(file: Path) -> None:
    (mistake,) = mistakes_in(file, "[general]\nperiod = soon\n")
    assert "[general] period" in mistake


def test_an_unknown_key_is_told_with_the_names_of_its_section(file: Path) -> None:
    (mistake,) = mistakes_in(file, "[general]\nintervall = 3\n")
    assert (
        mistake == f"{file}: [general] intervall is unknown; [general] takes caches, interval, share, verbose"
    )


def test_an_unknown_section_is_told_with_the_names_of_the_sections(file: Path) -> None:
    (mistake,) = mistakes_in(file, "[loook]\ncolour = red\n")
    assert mistake.endswith("the sections are [general], [http], [look], [net]")


def test_the_section_that_configparser_treats_apart_is_no_exception(file: Path) -> None:
    (mistake,) = mistakes_in(file, "[DEFAULT]\ncaches = 3\n")
    assert "[DEFAULT] caches is unknown" in mistake


@pytest.mark.parametrize(
    "text",
    [
        "[general]\ncaches = 3\ncaches = 4\n",
        "[general]\ncaches = 3\n[general]\ninterval = 4\n",
        "caches = 3\n",
        "[general]\ncaches\n",
        "[general\ncaches = 3\n",
    ],
    ids=["key twice", "section twice", "no section", "no value", "no bracket"],
)
def test_a_file_that_is_no_settings_file_is_told_in_one_line(file: Path, text: str) -> None:
    (mistake,) = mistakes_in(file, text)
    assert mistake.startswith(f"{file}: ")
    assert "\n" not in mistake


def test_a_bad_value_that_is_overridden_hurts_nobody(file: Path) -> None:
    assert read(file, "[general]\ncaches = many\n", flags={"caches": "3"}).settings.caches == 3


# --- older files ------------------------------------------------------------------------------------


def test_a_renamed_key_is_read_and_the_new_name_is_told(file: Path) -> None:
    loaded = read(file, "[general]\nperiod = 10\n")
    assert loaded.settings.interval == 10
    assert loaded.warnings == (f"{file}: [general] period is now [general] interval",)


@pytest.mark.parametrize("text", ["period = 10\ninterval = 20", "interval = 20\nperiod = 10"])
def test_a_new_key_wins_over_its_old_name_in_any_order(file: Path, text: str) -> None:
    assert read(file, f"[general]\n{text}\n").settings.interval == 20


def test_a_key_without_effect_is_told_with_the_reason(file: Path) -> None:
    loaded = read(file, "[general]\ncloud = elephant\n")
    assert loaded.settings == Example()
    assert loaded.warnings == (f"{file}: [general] cloud has no effect: nobody reads it",)


def test_keys_without_a_single_successor_are_put_together(file: Path) -> None:
    loaded = read(file, "[old]\nhost = h.org\n")
    assert loaded.settings.listen == HostPort("h.org", 80)
    assert loaded.warnings == (f"{file}: [old] host: write [http] listen",)


# --- sample and flags -------------------------------------------------------------------------------


def test_the_sample_read_back_is_the_defaults(file: Path) -> None:
    assert read(file, sample(Example, "An example.")) == Loaded(Example(), (), file)


def test_the_sample_tells_each_key_with_meaning_flag_and_variable() -> None:
    text = sample(Example, "An example, " + "long " * 40)
    for option in Example.options():
        assert f"\n{option.name} =" in text
        assert option.variable in text
        assert option.flags[-1] in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_each_section_of_the_sample_has_one_heading() -> None:
    assert sample(Example, "").count("[general]\n") == 1


def test_the_help_names_each_flag_its_meaning_its_default_and_its_variable() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, Example)
    text = " ".join(parser.format_help().split())
    assert (
        "-n CACHES, --caches CACHES How many. (a whole number from 1 to 9; default 2; SHOAL_CACHES)" in text
    )
    assert "Up to 100% of it." in text
    assert "default empty; SHOAL_LIMIT" in text


# --- kinds of value ---------------------------------------------------------------------------------


@PROPERTY
@given(st.floats(0, 1e9))
def test_a_number_that_is_shown_is_read_back_the_same(value: float) -> None:
    kind = kinds.number(0, 1e9, "kB/s")
    assert kind.parse(kind.show(value)) == value


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-1", "11", "1,5", "1e999"])
def test_a_number_is_finite_and_in_its_range(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        kinds.number(0, 10, "seconds").parse(text)


@pytest.mark.parametrize("text", ["", "1.0", "+1", "1_0", "٣", "10", "0", "9" * 5000])
def test_a_whole_number_is_digits_in_its_range(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        kinds.whole(1, 9).parse(text)


@pytest.mark.parametrize("text", ["", "maybe", "y", "2"])
def test_what_is_neither_yes_nor_no_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        kinds.yes_no().parse(text)


@pytest.mark.parametrize("text", ["a\nb", "a\0b", "\x1b[2J"])
def test_text_holds_no_control_characters(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        kinds.text().parse(text)


def test_a_choice_is_told_with_all_choices_and_taken_in_any_case() -> None:
    kind = kinds.one_of(Colour)
    assert (kind.allowed, kind.parse("BLUE"), kind.show(Colour.BLUE)) == (
        "one of red, blue",
        Colour.BLUE,
        "blue",
    )


@pytest.mark.parametrize("text", ["http://h", "https://h:8443/a?b=c", "http://[::1]:8080/"])
def test_a_url_is_a_url(text: str) -> None:
    assert kinds.url("http", "https").parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h",
        "h:80",
        "ftp://h",
        "http://a b",
        "http://h\n",
        "http://é",
        "http://[::1",
        "http://",
        "http:///x",
        "http:h",
        "http://h:x",
        "http://h:99999/",
    ],
)
def test_what_nobody_could_ask_is_no_url(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        kinds.url("http", "https").parse(text)


def test_a_bad_url_is_told_without_the_password_in_it(file: Path) -> None:
    (mistake,) = mistakes_in(file, "[net]\nservers = ftp://me:secret@h/x\n")
    assert "ftp://me:***@h/x" in mistake
    assert "secret" not in mistake


@pytest.mark.parametrize(
    "text",
    ["amqp_password = geheim\n", "[amqp]\ngeheim\n", "[amqp]\nurl = a\nurl = geheim\n", "[amqp]\n= geheim\n"],
)
def test_what_stands_in_a_broken_file_is_not_told(tmp_path: Path, text: str) -> None:
    """It may be a password."""
    path = tmp_path / "shoal.conf"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(Example, flags={}, environ={}, path=path, usual=[])
    assert "geheim" not in str(caught.value)
    assert "line" in str(caught.value)
