"""What the three command lines share."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shoal_common import kinds
from shoal_common.errors import SettingsError
from shoal_common.program import command_line, settings_of
from shoal_common.settings import Settings, load, setting
from shoal_common.version import VERSION


@dataclass(frozen=True, slots=True)
class Example(Settings):
    caches: int = setting("general", 2, kinds.whole(1, 9), "How many.", flags=("-n", "--caches"))


PARSER = command_line("shoal-example", "Shows how.", Example)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        PARSER.parse_args(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"shoal-example {VERSION}\n")


def test_the_help_tells_file_flags_and_who_wins(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        PARSER.parse_args(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert "/etc/shoal/shoal_example.conf" in text
    assert "--caches" in text
    assert "the flag wins over the environment, the environment over the file" in text


def test_an_unknown_flag_ends_with_the_code_of_bad_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        PARSER.parse_args(["--nonsense"])
    assert ended.value.code == 2
    assert "--nonsense" in capsys.readouterr().err


def test_the_file_under_the_home_directory_is_found(tmp_path: Path) -> None:
    file = tmp_path / ".shoal" / "shoal_example.conf"
    file.parent.mkdir()
    file.write_text("[general]\ncaches = 7\n")
    loaded = settings_of(Example, "shoal-example", PARSER.parse_args([]), {"HOME": str(tmp_path)})
    assert (loaded.settings.caches, loaded.path) == (7, file)


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A directory that this process may not enter."""
    directory = tmp_path / "closed"
    directory.mkdir(mode=0)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield directory
    os.seteuid(before)


def test_a_home_that_may_not_be_entered_holds_no_settings(closed: Path) -> None:
    loaded = settings_of(Example, "shoal-none", PARSER.parse_args(["-n", "3"]), {"HOME": str(closed)})
    assert (loaded.settings.caches, loaded.path) == (3, None)


def test_settings_of_the_machine_that_cannot_be_looked_up_are_not_taken_for_none(closed: Path) -> None:
    with pytest.raises(SettingsError, match=r"closed/shoal\.conf: Permission denied"):
        load(Example, flags={}, environ={}, path=None, usual=[closed / "shoal.conf"])


def test_a_file_that_was_named_replaces_the_usual_ones(tmp_path: Path) -> None:
    file = tmp_path / "mine.conf"
    file.write_text("[general]\ncaches = 5\n")
    args = PARSER.parse_args(["--config", str(file)])
    assert settings_of(Example, "shoal-example", args, {"HOME": str(tmp_path)}).settings.caches == 5


def test_a_named_file_that_is_missing_is_a_mistake(tmp_path: Path) -> None:
    args = PARSER.parse_args(["--config", str(tmp_path / "none.conf")])
    with pytest.raises(SettingsError, match=r"none\.conf"):
        settings_of(Example, "shoal-example", args, {})


def test_no_file_at_all_is_no_mistake(tmp_path: Path) -> None:
    loaded = settings_of(Example, "shoal-none", PARSER.parse_args(["-n", "3"]), {"HOME": str(tmp_path)})
    assert (loaded.settings.caches, loaded.warnings, loaded.path) == (3, (), None)


def test_log_lines_go_to_stderr_once_and_from_the_level_asked_for() -> None:
    ended = run(
        "import logging; from shoal_common.program import LogLevel, log_to_stderr\n"
        "log_to_stderr(LogLevel.INFO); log_to_stderr(LogLevel.WARNING)\n"
        "logging.getLogger('shoal').warning('a warning'); logging.getLogger('shoal').info('not this')\n"
    )
    assert (ended.returncode, ended.stdout) == (0, "")
    (line,) = ended.stderr.splitlines()
    assert line.endswith("WARNING shoal: a warning")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_stop_sets_the_event_and_ends_nothing_else(number: signal.Signals) -> None:
    ended = run(
        "import os; from shoal_common.program import stop_on_signals\n"
        f"stop = stop_on_signals(); assert not stop.is_set(); os.kill(os.getpid(), {int(number)})\n"
        "assert stop.wait(30); print('in good order')\n"
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "in good order\n", "")


def test_who_was_told_by_nohup_to_outlive_its_terminal_does() -> None:
    ended = run(
        "import os, signal; from shoal_common.program import stop_on_signals\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN); stop = stop_on_signals()\n"
        "os.kill(os.getpid(), signal.SIGHUP); print(stop.wait(0.1))\n"
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "False\n", "")
