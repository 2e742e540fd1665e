"""What the three command lines have in common: flags, settings files, logging, an orderly end."""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from shoal_common.settings import Loaded, Reading, Settings, add_flags, read
from shoal_common.version import VERSION

S = TypeVar("S", bound=Settings)

BAD_SETTINGS = 2
"""Exit code for flags, variables or files that cannot be used (argparse's own code too)."""


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


def command_line(name: str, description: str, declared: type[Settings]) -> argparse.ArgumentParser:
    """A parser with `--config`, `--version` and a flag for every setting."""
    parser = argparse.ArgumentParser(
        prog=name,
        allow_abbrev=False,
        description=description,
        epilog="Each setting is a flag, an environment variable and a key of the file; "
        "the flag wins over the environment, the environment over the file.",
    )
    parser.add_argument("--version", action="version", version=f"{name} {VERSION}")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"the settings file (default: {_default(name)})"
    )
    add_flags(parser, declared)
    return parser


def settings_of(
    declared: type[S], name: str, args: argparse.Namespace, environ: Mapping[str, str]
) -> Loaded[S]:
    """The settings for this run; raises SettingsError. A missing usual file is no mistake."""
    return read_settings(declared, name, args, environ).faultless()


def read_settings(
    declared: type[S], name: str, args: argparse.Namespace, environ: Mapping[str, str]
) -> Reading[S]:
    """The same as far as it can be read, with all mistakes."""
    usual = [*_in_home(name, environ), _default(name)]
    return read(declared, flags=vars(args), environ=environ, path=args.config, usual=usual)


def _in_home(name: str, environ: Mapping[str, str]) -> list[Path]:
    """The user's own file. A home that may not be entered, as behind ProtectHome=yes, has none."""
    if environ.get("HOME"):
        with suppress(OSError):
            file = Path(environ["HOME"], ".shoal", _file(name))
            return [file] if file.is_file() else []
    return []


def _file(name: str) -> str:
    return f"{name.replace('-', '_')}.conf"


def _default(name: str) -> Path:
    return Path("/etc/shoal", _file(name))


def log_to_stderr(level: LogLevel) -> None:
    """Send log lines to stderr, where journald, a container's log and a person read them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.value.upper())
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # the same trouble reaches us as an exception


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM, SIGINT and SIGHUP set; the handler does nothing else.

    Whatever may change while a program runs is followed without a signal, so who sends SIGHUP has closed
    the terminal, or wants other settings: whoever supervises the program starts it with those.
    """
    stop = threading.Event()

    def handle(*_: object) -> None:
        if not stop.is_set():  # a second set could meet the lock of the wait that the first one ended
            stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # see nohup(1)
            signal.signal(number, handle)
    return stop
