"""`shoal-server`: runs a server, or one of the parts that several processes share."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from shoal_common.errors import SettingsError, ShoalError
from shoal_common.hosts import redacted
from shoal_common.program import BAD_SETTINGS, command_line, log_to_stderr, settings_of, stop_on_signals
from shoal_server.build import Role, build
from shoal_server.settings import ServerSettings

NAME = "shoal-server"
DESCRIPTION = "Tracks squids and tells workers which are near."
CANNOT_RUN = 1

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a server; the exit code is 0 after an orderly end, 1 if it cannot run, 2 for bad settings."""
    parser = command_line(NAME, DESCRIPTION, ServerSettings)
    parser.add_argument(
        "roles",
        nargs="*",
        metavar="ROLE",
        type=_role,
        help="what this process does: web (answers), intake (takes heartbeats in), verify (checks squids); "
        "without any, all of it. Processes that share the work need the same Redis.",
    )
    args = parser.parse_args(argv)
    stop = stop_on_signals()
    try:
        loaded = settings_of(ServerSettings, NAME, args, os.environ)
        log_to_stderr(loaded.settings.log_level)
        for warning in loaded.warnings:
            log.warning("%s", warning)
        server = build(loaded.settings, args.roles or list(Role))
        if server.http:
            log.info("listening on port %d for HTTP", server.http.port)
        if server.intake:
            log.info("heartbeats from %s", redacted(loaded.settings.amqp))
        server.run(stop)
    except SettingsError as error:
        return _failed(error, BAD_SETTINGS)
    except ShoalError as error:
        return _failed(error, CANNOT_RUN)
    return 0


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(Role)}") from None


def _failed(error: ShoalError, code: int) -> int:
    """Every mistake on a line of its own; there may be no log yet."""
    for line in str(error).splitlines():
        print(f"{NAME}: {line}", file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(main())
