"""`shoal-server [run]`: a server, or one of the parts that several processes share."""

import argparse
import logging
import resource
from collections.abc import Mapping
from contextlib import suppress

from shoal_common.hosts import redacted
from shoal_common.program import log_to_stderr, settings_of, stop_on_signals
from shoal_server.build import Role, build
from shoal_server.commands.command import PROGRAM
from shoal_server.settings import ServerSettings

FILES = 65536
"""How many files to be allowed: each who asks is one. A shell allows 1024 until a program asks for more."""

log = logging.getLogger(__name__)


def serve(args: argparse.Namespace, environ: Mapping[str, str]) -> None:
    """Run a server until a signal ends it; raises SettingsError, or Unavailable if it cannot run."""
    stop = stop_on_signals()
    loaded = settings_of(ServerSettings, PROGRAM, args, environ)
    log_to_stderr(loaded.settings.log_level)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    _allow_files()
    server = build(loaded.settings, [Role(role) for role in args.roles] or list(Role))
    if server.http:
        log.info("listening on port %d for HTTP", server.http.port)
    if server.intake:
        log.info("heartbeats from %s", redacted(loaded.settings.amqp))
    server.run(stop)


def _allow_files() -> None:
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if most == resource.RLIM_INFINITY else min(FILES, most)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        with suppress(OSError, ValueError):  # a sandbox may forbid it; then fewer are served at once
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
