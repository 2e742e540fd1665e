"""What every command is made of: its arguments, the settings that it may ask for, and its answer."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shoal_common.errors import ShoalError
from shoal_common.program import settings_of
from shoal_server.settings import ServerSettings

PROGRAM = "shoal-server"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found: `text` for people, `data` for `--json`, and how the program ends.

    `notes` are for stderr, whichever form the answer has.
    """

    data: object
    text: str
    code: int = 0
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a command: its arguments as parsed, the environment, and when (seconds since 1970)."""

    args: argparse.Namespace
    environ: Mapping[str, str]
    now: float

    def settings(self) -> ServerSettings:
        """The server's settings by flags, environment and file; raises SettingsError."""
        return settings_of(ServerSettings, PROGRAM, self.args, self.environ).settings


@dataclass(frozen=True, slots=True)
class Command:
    """A command: `arguments` adds what it takes to a parser; `run` raises ShoalError when it cannot.

    One that works with the settings themselves `takes_settings`: each of them is a flag of it.
    """

    run: Callable[[Call], Answer]
    arguments: Callable[[argparse.ArgumentParser], None]
    takes_settings: bool = False


class BadUsage(ShoalError):  # noqa: N818
    """A command line that asks for what there is not."""
