"""The proxies of repositories that are mounted already."""

import logging
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from shoal_client import administrator, cvmfs, talk
from shoal_client.actions import ExitCode, worst
from shoal_client.effective import View
from shoal_client.results import Result
from shoal_client.settings import ClientSettings
from shoal_client.talk import Manager, Talk
from shoal_common.errors import InvalidProxyList, Unavailable
from shoal_common.proxylist import ProxyList

PARAMETERS = {Manager.REGULAR: cvmfs.PROXIES, Manager.EXTERNAL: cvmfs.EXTERNAL}
log = logging.getLogger(__name__)


def apply(
    result: Result,
    settings: ClientSettings,
    environ: Mapping[str, str],
    view: View,
    out: TextIO,
    *,
    dry_run: bool,
) -> ExitCode:
    """Give every mounted repository what it is to use; with `dry_run` print the commands.

    `view` are the files of CVMFS that its next mount reads.
    """
    managers = [Manager.REGULAR, *([Manager.EXTERNAL] if settings.external_data else [])]
    codes, too_long = [], set()
    for repository in mount_points(settings):
        for manager in managers:
            speaker = Talk(settings.cvmfs_talk, repository, manager, environ)
            try:
                chain = wanted(result, settings, repository, manager, view)
                if (short := talk.shortened(chain)) != chain:
                    too_long.add((len(short.members), len(chain.members)))
                codes.append(_apply(speaker, short, out, dry_run=dry_run))
            except Unavailable as error:
                log.error("%s", error)  # noqa: TRY400 - nothing of ours has failed: no traceback
                codes.append(ExitCode.FAILED)
    for counts in sorted(too_long):
        log.warning("mounted repositories get %d of %d proxies: cvmfs_talk takes no longer list", *counts)
    return worst(codes)


def wanted(
    result: Result, settings: ClientSettings, repository: str, manager: Manager, view: View
) -> ProxyList:
    """What a mounted repository is to use: what its next mount reads in the files.

    But where a file for all repositories sets others in the place of ours, as default.local often does,
    ours are put in front of those; what a file of its domain or its own makes of that counts. Raises
    Unavailable if that cannot be known, or is nothing that may be set.
    """
    parameter = PARAMETERS[manager]
    own = result.own(parameter)
    try:
        read, _ = _reads(repository, parameter, settings, view)
        if administrator.covers(read, result.chosen) and not administrator.covers(own, result.chosen):
            return read
        general = {parameter: result.chosen.then(own).to_cvmfs()}
        read, told = _reads(repository, parameter, settings, replace(view, general=general))
    except Unavailable as error:
        raise Unavailable(f"{repository} stays as it is: {error}") from None
    if not read.groups:
        raise Unavailable(f"{repository} stays as it is: {told}")
    if not administrator.covers(read, result.chosen):
        log.info("%s: %s; with that file in [cvmfs] blocks_in squids of ours come first", repository, told)
    return read


def _reads(repository: str, parameter: str, settings: ClientSettings, view: View) -> tuple[ProxyList, str]:
    """What it reads, empty if that is no chain, and the same in words."""
    value = administrator.evaluated(settings.cvmfs_directory, repository, view).values.get(parameter)
    if value is None:
        return ProxyList(), f"no file sets {parameter}"
    told = f"{value.files[-1]} sets {parameter} to {value.text!r}"
    try:
        return ProxyList.parse(value.text), told
    except InvalidProxyList:
        return ProxyList(), told


def mount_points(settings: ClientSettings) -> dict[str, Path]:
    """The mounted repositories and where they are; none, and a warning, if that cannot be known."""
    try:
        return talk.mount_points(settings.mounts)
    except Unavailable as error:
        log.warning("which repositories are mounted is not known: %s", error)
        return {}


def _apply(speaker: Talk, chain: ProxyList, out: TextIO, *, dry_run: bool) -> ExitCode:
    """Raises Unavailable if the repository cannot be asked, or does not take it."""
    if talk.matches(before := speaker.info(), chain):
        if dry_run:
            out.write(f"# {speaker.repository} uses these proxies already\n")
        return ExitCode.UNCHANGED
    if dry_run:
        out.write(shlex.join(speaker.command(chain)) + "\n")
    else:
        speaker.change(chain, before)
        log.info("%s uses now: %s", speaker.repository, chain.to_cvmfs())
    return ExitCode.CHANGED
