"""`shoal-server`: runs a server; with a command as its first word, asks or changes a running one.

A command's module is loaded when it is used: to ask a server needs nothing of what running one does.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from shoal_common.errors import SettingsError, ShoalError
from shoal_common.program import BAD_SETTINGS, command_line
from shoal_common.settings import add_flags
from shoal_server.commands.command import PROGRAM, BadUsage, Call, Command
from shoal_server.commands.plain import as_json
from shoal_server.settings import ServerSettings

CANNOT = 1
STOPPED = 130
"""The shell's code for a program that Ctrl-C ended."""
ROLES = ("web", "intake", "verify")
RUN = "run"
COMMANDS: Mapping[str, tuple[str, str]] = {
    "status": ("watching", "how the servers and squids are"),
    "squids": ("watching", "the list of squids"),
    "show": ("watching", "one squid: what it says, what was found, what happened to it"),
    "explain": ("explaining", "what a worker at an address is told, term by term, and why no other squid"),
    "drain": ("changing", "offer a squid to no new workers"),
    "undrain": ("changing", "offer it again"),
    "forget": ("changing", "remove a squid that is gone for good"),
    "locate": ("places", "where an address is and whose, by table and databases (no server needed)"),
    "geoip": ("places", "fetch the GeoIP databases, or tell how old they are (no server needed)"),
    "check-config": ("checking", "find every mistake in settings and files (no server needed)"),
}
"""The module of each command, in the package `commands`, and what it is for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done (a server: ended in good order), 1 cannot, 2 bad usage or settings, 130 Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words and words[0] in COMMANDS:
            return _operate(words[0], words[1:], os.environ)
        return _run(words[1:] if words[:1] == [RUN] else words, os.environ)
    except (SettingsError, BadUsage) as error:
        return _failed(error, BAD_SETTINGS)
    except ShoalError as error:
        return _failed(error, CANNOT)
    except KeyboardInterrupt:
        return STOPPED


def _run(words: Sequence[str], environ: Mapping[str, str]) -> int:
    args = running_parser().parse_args(words)
    from shoal_server.commands import running  # noqa: PLC0415 - takes a moment that commands need not spend

    running.serve(args, environ)
    return 0


def running_parser() -> argparse.ArgumentParser:
    """What a server takes; its help also tells the commands."""
    parser = command_line(PROGRAM, _overview(), ServerSettings)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = f"{PROGRAM} [run] [ROLE ...] [FLAG ...]\n       {PROGRAM} COMMAND [--help] ..."
    parser.add_argument(
        "roles",
        nargs="*",
        metavar="ROLE",
        type=_role,
        help="what this process does: web (answers), intake (takes heartbeats in), verify (checks squids); "
        "without any, all of it. Processes that share the work need the same Redis.",
    )
    return parser


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        "Tracks squids and tells workers which are near.",
        "",
        "running:",
        f"  {RUN:{width}}  run a server, or the ROLEs of one; the word may be left out",
        "",
        f"operating (each explains itself: {PROGRAM} COMMAND --help):",
        *(f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items()),
    ]
    return "\n".join(lines)


def _role(text: str) -> str:
    if text in COMMANDS:
        raise argparse.ArgumentTypeError(f"a command comes first: {PROGRAM} {text} ...")
    if text not in ROLES:
        raise argparse.ArgumentTypeError(f"{text!r} is no command, and none of {', '.join(ROLES)}")
    return text


def _operate(name: str, words: Sequence[str], environ: Mapping[str, str]) -> int:
    command, parser = command_parser(name)
    args = parser.parse_args(words)
    answer = command.run(Call(args, environ, time.time()))
    for note in answer.notes:
        print(f"{PROGRAM}: {note}", file=sys.stderr)  # noqa: T201
    _print(as_json(answer.data) if args.json else answer.text)
    return answer.code


def command_parser(name: str) -> tuple[Command, argparse.ArgumentParser]:
    """A command, and what it takes."""
    module, summary = COMMANDS[name]
    command: Command = import_module(f"shoal_server.commands.{module}").COMMANDS[name]
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} {name}",
        allow_abbrev=False,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog="Exit codes: 0 done, 1 cannot, 2 bad usage or settings.",
    )
    command.arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the server's settings file")
    if command.takes_settings:
        parser.usage = f"{parser.format_usage().removeprefix('usage: ').rstrip()} [FLAG of a setting ...]"
        add_flags(parser, ServerSettings)
    return command, parser


def _print(text: str) -> None:
    """To stdout, as far as somebody reads it and whatever letters his terminal has."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # as with `| head`; what Python would still write at its end must go nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(error: ShoalError, code: int) -> int:
    """Every mistake on a line of its own; there may be no log yet."""
    for line in str(error).splitlines():
        print(f"{PROGRAM}: {line}", file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(main())
