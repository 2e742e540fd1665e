"""The command `shoal-client`."""

import argparse
import io
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from shoal_client import classad, journal, node
from shoal_client.actions import Actions, Command, ExitCode
from shoal_client.client import Streams, run
from shoal_client.printing import FRONTIER_SERVER
from shoal_client.settings import ClientSettings
from shoal_common.errors import SettingsError
from shoal_common.program import command_line, log_to_stderr, settings_of

NAME = "shoal-client"
AGAIN_SECONDS = 0.5

log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """All flags."""
    result = command_line(
        NAME,
        "Finds the nearest good squids and configures CVMFS for them, or puts them into FRONTIER_SERVER. "
        "Exit codes: 0 changed or unchanged; 1 could not, what was configured stays; 2 bad settings; "
        "3 no server listed a good squid, the last good choice is kept; 130 ended by a signal.",
        ClientSettings,
    )
    result.add_argument(
        "command",
        nargs="?",
        type=Command,
        choices=list(Command),
        default=Command.RUN,
        metavar="COMMAND",
        help="run (default); doctor: tell what each mounted repository uses, why, and whether it works; "
        "classad: print attributes for HTCondor's STARTD_CRON",
    )
    flag = result.add_argument
    flag("-d", "--dump", action="store_true", help="print the proxies in double quotes, change nothing")
    flag("-f", "--frontier", action="store_true", help="print $FRONTIER_SERVER with the proxies in it")
    flag("-k", "--skip-broadcast", action="store_true", help="do not listen on the LAN, whatever lan_wait is")
    flag("-o", "--force-server", action="store_true", help="put the server's squids before those of the LAN")
    flag("--dry-run", action="store_true", help="show what would be changed, as a diff and as commands")
    flag("--explain", action="store_true", help="tell why each squid was taken or not (-f, -d: on stderr)")
    flag("--exit-codes", action="store_true", help="end with 4 instead of 0 if something was changed")
    return result


def main() -> None:
    """Run once and exit with an `ExitCode`."""
    _open_what_is_closed()
    # The bytes of FRONTIER_SERVER and of files come out as they came in.
    sys.stdout.reconfigure(  # type: ignore[union-attr]
        encoding=sys.getfilesystemencoding(), errors="surrogateescape"
    )
    code = start(sys.argv[1:], os.environ, sys.stdout)
    logging.shutdown()
    sys.exit(code)


def _open_what_is_closed() -> None:
    """Whoever starts us without stdin, stdout or stderr gets a run all the same.

    In this order each takes its number, so that no file of ours is given what is meant for it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def start(arguments: Sequence[str], environ: Mapping[str, str], out: TextIO) -> ExitCode:
    """Read flags, variables and file, then do what they say; a signal ends it at any point."""
    _stop_on_signals()
    try:
        args = parser().parse_args(arguments)
        with _given_back(args, environ, out) as printed:
            code = _start(args, environ, printed)
        return code.told(all_codes=args.exit_codes)
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        log.warning("stopped by a signal")
        return ExitCode.STOPPED


@contextmanager
def _given_back(args: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> Iterator[TextIO]:
    """With -f $FRONTIER_SERVER is printed as it was if nothing else is, however the run ends: a job goes on
    with what comes out here.
    """
    if args.dump or not args.frontier:
        yield out
        return
    printed = io.StringIO()
    try:
        yield printed
    finally:
        given = environ.get(FRONTIER_SERVER)
        out.write(printed.getvalue() or (f"{given}\n" if given else ""))


def _start(args: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> ExitCode:
    actions = Actions(
        dump=args.dump,
        frontier=args.frontier,
        skip_broadcast=args.skip_broadcast,
        force_server=args.force_server,
        dry_run=args.dry_run,
        explain=args.explain,
    )
    if args.servers and args.frontier_servers is None:
        args.frontier_servers = []  # who names a server on the command line means it for -f too
    try:
        loaded = settings_of(ClientSettings, NAME, args, environ)
    except SettingsError as error:
        for mistake in error.mistakes:
            sys.stderr.write(f"{NAME}: {mistake}\n")
        return ExitCode.BAD_SETTINGS
    log_to_stderr(loaded.settings.log_level)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    return _do(args.command, loaded.settings, actions, environ, out)


def _do(
    command: Command, settings: ClientSettings, actions: Actions, environ: Mapping[str, str], out: TextIO
) -> ExitCode:
    if command is Command.DOCTOR:
        from shoal_client import doctor  # noqa: PLC0415 - a run from cron need not load it

        return doctor.examine(settings, environ, time.time(), out)
    if command is Command.CLASSAD:
        classad.advertise(settings, environ, time.time(), out)
        return ExitCode.UNCHANGED
    if settings.splay and actions.configures:
        time.sleep(settings.splay * node.share(node.identity(), "splay"))
    explained = sys.stderr if actions.frontier or actions.dump else out
    done = run(settings, actions, environ, Streams(out, explained))
    log.info("%s", done.summary)
    if settings.syslog and not actions.dry_run:
        journal.send(NAME, done.summary, journal.SOCKET)
    return done.code


def _stop_on_signals() -> None:
    """The first signal is an exception wherever the run is; what cleans up after it is left in peace.

    Python drops an exception that comes up in some of its own affairs, in an import's for one. So it is
    raised again after a while, until `start` has seen it.
    """

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        for ignored in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ignored, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


if __name__ == "__main__":
    main()
