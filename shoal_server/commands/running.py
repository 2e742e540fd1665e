"""`shoal-server [run]`: a server, or one of the parts that several processes share."""

import argparse
import logging
from collections.abc import Mapping

from shoal_common.hosts import redacted
from shoal_common.program import log_to_stderr, settings_of, stop_on_signals
from shoal_server.build import Role, build
from shoal_server.commands.command import PROGRAM
from shoal_server.settings import ServerSettings

log = logging.getLogger(__name__)


def serve(args: argparse.Namespace, environ: Mapping[str, str]) -> None:
    """Run a server until a signal ends it; raises SettingsError, or Unavailable if it cannot run."""
    stop = stop_on_signals()
    loaded = settings_of(ServerSettings, PROGRAM, args, environ)
    log_to_stderr(loaded.settings.log_level)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    server = build(loaded.settings, [Role(role) for role in args.roles] or list(Role))
    if server.http:
        log.info("listening on port %d for HTTP", server.http.port)
    if server.intake:
        log.info("heartbeats from %s", redacted(loaded.settings.amqp))
    server.run(stop)
