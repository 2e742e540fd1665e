"""What a shell makes of CVMFS's files, as CVMFS asks it."""

import random
from contextlib import suppress
from pathlib import Path

import pytest

from shoal_client import shell
from shoal_common.errors import Unavailable
from testbed.process import wait_until

ENVIRON = {"PATH": "/usr/bin:/bin"}


def read(text: str, **environ: str) -> dict[str, str]:
    return shell.parameters(text.encode(), Path("/"), ENVIRON | environ)


def test_shell_syntax_works_as_it_does_in_cvmfs() -> None:
    text = 'A="x  y"\nexport B=${A:-z}\nif true; then\n  C=1 # why\nfi\nreadonly D="${OLD};DIRECT"\n# E=2\n'
    assert read(text, OLD="http://a.test") == {"A": "x y", "B": "x y", "C": "1", "D": "http://a.test;DIRECT"}


def test_an_unquoted_semicolon_ends_the_value() -> None:
    assert read("A=http://a.test:1;B=http://b.test:2\n") == {"A": "http://a.test:1"}


def test_what_the_file_prints_is_not_taken_for_values() -> None:
    assert read("echo hello\nA=1\necho A\n") == {"A": "1"}


@pytest.mark.parametrize("text", ['A="x\n', "exit 0\nA=1\n", "if true; then\n"])
def test_a_file_that_is_not_read_to_its_end_is_told(text: str) -> None:
    with pytest.raises(Unavailable, match="reads to its end"):
        read(text)


@pytest.mark.parametrize("waits", ["exec sleep {}", "A=$(sleep {}; echo 1)", "sleep {} &"])
def test_a_file_that_hangs_is_told_and_nothing_goes_on_running(
    monkeypatch: pytest.MonkeyPatch, waits: str
) -> None:
    monkeypatch.setattr(shell, "SECONDS", 0.3)
    seconds = str(random.randrange(10**6, 10**7))
    with pytest.raises(shell.NotEvaluated, match="does not end within"):
        read(waits.format(seconds) + "\nB=1\n")
    wait_until(lambda: not _running("sleep", seconds), 20.0)


def _running(*words: str) -> bool:
    """Whether a process has this command line."""
    wanted = "\0".join([*words, ""]).encode()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # one that has just ended
            if process.read_bytes() == wanted:
                return True
    return False
