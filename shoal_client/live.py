"""The proxies of repositories that are mounted already."""

import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from shoal_client import talk
from shoal_client.actions import ExitCode, worst
from shoal_client.settings import ClientSettings
from shoal_client.talk import Manager, Talk
from shoal_common.errors import Unavailable
from shoal_common.proxylist import ProxyList

log = logging.getLogger(__name__)


def apply(
    chain: ProxyList, settings: ClientSettings, environ: Mapping[str, str], out: TextIO, *, dry_run: bool
) -> ExitCode:
    """Give every mounted repository `chain` unless it uses it; with `dry_run` print the commands."""
    short = _short(chain)
    managers = [Manager.REGULAR, *([Manager.EXTERNAL] if settings.external_data else [])]
    return worst(
        _apply(Talk(settings.cvmfs_talk, repository, manager, environ), short, out, dry_run=dry_run)
        for repository in mount_points(settings)
        for manager in managers
    )


def mount_points(settings: ClientSettings) -> dict[str, Path]:
    """The mounted repositories and where they are; none, and a warning, if that cannot be known."""
    try:
        return talk.mount_points(settings.mounts)
    except Unavailable as error:
        log.warning("which repositories are mounted is not known: %s", error)
        return {}


def _apply(speaker: Talk, chain: ProxyList, out: TextIO, *, dry_run: bool) -> ExitCode:
    try:
        if talk.matches(before := speaker.info(), chain):
            if dry_run:
                out.write(f"# {speaker.repository} uses these proxies already\n")
            return ExitCode.UNCHANGED
        if dry_run:
            out.write(shlex.join(speaker.command(chain)) + "\n")
        else:
            speaker.change(chain, before)
            log.info("%s uses now: %s", speaker.repository, chain.to_cvmfs())
    except Unavailable as error:
        log.error("%s", error)  # noqa: TRY400 - nothing of ours has failed: no traceback
        return ExitCode.FAILED
    return ExitCode.CHANGED


def _short(chain: ProxyList) -> ProxyList:
    short = talk.shortened(chain)
    if short != chain:
        log.warning(
            "mounted repositories get %d of %d proxies: cvmfs_talk takes no longer list",
            len(short.members),
            len(chain.members),
        )
    return short
