"""The command `shoal-client`."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from shoal_client.actions import Actions, ExitCode
from shoal_client.client import run
from shoal_client.outputs import FRONTIER_SERVER
from shoal_client.settings import ClientSettings
from shoal_common.errors import SettingsError
from shoal_common.program import command_line, log_to_stderr, settings_of
from shoal_common.settings import Loaded

NAME = "shoal-client"
_SYSLOG = Path("/dev/log")
log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """All flags."""
    result = command_line(
        NAME,
        "Finds the nearest good squids and configures CVMFS for them, or puts them into FRONTIER_SERVER. "
        "Exit codes: 0 done or nothing to do; 1 could not, what was configured stays; 2 bad settings.",
        ClientSettings,
    )
    flag = result.add_argument
    flag("-d", "--dump", action="store_true", help="print the proxies in double quotes, change nothing")
    flag("-f", "--frontier", action="store_true", help="print $FRONTIER_SERVER with the proxies in it")
    flag("-k", "--skip-broadcast", action="store_true", help="do not listen on the LAN, whatever lan_wait is")
    flag("-o", "--force-server", action="store_true", help="put the server's squids before those of the LAN")
    flag("--dry-run", action="store_true", help="show what would be changed, as a diff and as commands")
    return result


def main() -> None:
    """Run once and exit with an `ExitCode`."""
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    code = start(sys.argv[1:], os.environ, sys.stdout)
    logging.shutdown()
    sys.exit(code)


def start(arguments: Sequence[str], environ: Mapping[str, str], out: TextIO) -> ExitCode:
    """Read flags, variables and file, then do the run; a signal ends it at any point."""
    _stop_on_signals()
    try:
        return _start(parser().parse_args(arguments), environ, out)
    except KeyboardInterrupt:
        log.warning("stopped by a signal")
        return ExitCode.STOPPED


def _start(args: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> ExitCode:
    actions = Actions(
        dump=args.dump,
        frontier=args.frontier,
        skip_broadcast=args.skip_broadcast,
        force_server=args.force_server,
        dry_run=args.dry_run,
    )
    if args.servers and args.frontier_servers is None:
        args.frontier_servers = []  # who names a server on the command line means it for -f too
    try:
        loaded = settings_of(ClientSettings, NAME, args, environ)
    except SettingsError as error:
        for mistake in error.mistakes:
            sys.stderr.write(f"{NAME}: {mistake}\n")
        if actions.frontier and not actions.dump and environ.get(FRONTIER_SERVER):
            out.write(environ[FRONTIER_SERVER] + "\n")
        return ExitCode.BAD_SETTINGS
    _log(loaded)
    return run(loaded.settings, actions, environ, out)


def _log(loaded: Loaded[ClientSettings]) -> None:
    log_to_stderr(loaded.settings.log_level)
    if loaded.settings.syslog and _SYSLOG.exists():
        from logging.handlers import SysLogHandler  # noqa: PLC0415 - few runs need it

        handler = SysLogHandler(str(_SYSLOG))
        handler.ident = f"{NAME}: "
        logging.getLogger().addHandler(handler)
    for warning in loaded.warnings:
        log.warning("%s", warning)


def _stop_on_signals() -> None:
    """The first signal is an exception wherever the run is; what cleans up after it is left in peace."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        for ignored in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ignored, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


if __name__ == "__main__":
    main()
