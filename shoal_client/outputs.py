"""Hands the chosen proxies to what they are for: CVMFS's configuration, its mounts, or stdout."""

import difflib
import logging
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from shoal_client import cvmfs as configuration
from shoal_client import frontier as frontier_server
from shoal_client import talk
from shoal_client.actions import Actions, ExitCode
from shoal_client.settings import ClientSettings
from shoal_common.errors import InvalidProxyList, Unavailable
from shoal_common.proxylist import ProxyList

FRONTIER_SERVER = "FRONTIER_SERVER"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """The squids that were chosen, all tested good, and the administrator's own proxies.

    `kept`: there was nothing to choose from anew, what is configured should stay.
    """

    chosen: ProxyList
    defaults: ProxyList
    kept: bool

    @property
    def chain(self) -> ProxyList:
        """The chosen ones with the administrator's behind them."""
        return self.chosen.then(self.defaults)


def frontier(result: Result, actions: Actions, environ: Mapping[str, str], out: TextIO) -> ExitCode:
    """Print FRONTIER_SERVER with the chosen proxies, and unchanged if that cannot be."""
    if actions.dump:
        return _dump(result, result.chain.to_frontier(), out)
    server = environ.get(FRONTIER_SERVER, "")
    if not server:
        log.error("FRONTIER_SERVER is not set: there is nothing to put the proxies into")
        return ExitCode.KEPT
    out.write(_rewritten(server, result) + "\n")
    return ExitCode.DONE


def _rewritten(server: str, result: Result) -> str:
    if not result.chosen.groups:
        log.warning("no squid was found good: FRONTIER_SERVER stays as it is")
        return server
    try:
        return frontier_server.rewrite(server, result.chain)
    except InvalidProxyList as error:
        log.warning("FRONTIER_SERVER stays as it is: %s", error)
        return server


def cvmfs(
    result: Result, settings: ClientSettings, actions: Actions, environ: Mapping[str, str], out: TextIO
) -> ExitCode:
    """Write the client's file and set the mounted repositories; or print the chain, or what would be done."""
    if actions.dump:
        return _dump(result, result.chain.to_cvmfs(), out)
    if not result.chosen.groups:
        log.warning("no squid was found good: the configuration of CVMFS stays as it is")
        return ExitCode.KEPT
    if result.kept and (settings.cvmfs_config.exists() or not settings.write_cvmfs):
        log.warning("no server listed a good squid: the configuration of CVMFS stays as it is")
        return ExitCode.KEPT
    steps = []
    if settings.write_cvmfs:
        steps.append(_show_file if actions.dry_run else _write_file)
    if settings.set_live:
        steps.append(_show_live if actions.dry_run else _set_live)
    return max([step(result.chain, settings, environ, out) for step in steps], default=ExitCode.DONE)


def _dump(result: Result, text: str, out: TextIO) -> ExitCode:
    """In double quotes, as released clients print it."""
    if text:
        out.write(f'"{text}"\n')
    if result.chosen.groups:
        return ExitCode.DONE
    log.warning(
        "no squid was found good: %s", "these are the defaults" if text else "there is nothing to show"
    )
    return ExitCode.KEPT


def _write_file(
    chain: ProxyList, settings: ClientSettings, environ: Mapping[str, str], out: TextIO
) -> ExitCode:
    del environ, out
    path = settings.cvmfs_config
    try:
        changed = configuration.write(path, configuration.render(chain))
    except Unavailable as error:
        log.error("%s", error)  # noqa: TRY400 - the operator's mistake, not ours: no traceback
        return ExitCode.KEPT
    log.info("%s %s: %s", path, "now says" if changed else "said already", chain.to_cvmfs())
    for other in configuration.overriding(settings.cvmfs_directory, path):
        log.log(
            logging.WARNING if changed else logging.INFO,
            "%s has no effect on later mounts: %s sets CVMFS_HTTP_PROXY after it. Write there "
            'CVMFS_HTTP_PROXY="${CVMFS_HTTP_PROXY:-…}"',
            path,
            other,
        )
    return ExitCode.DONE


def _show_file(
    chain: ProxyList, settings: ClientSettings, environ: Mapping[str, str], out: TextIO
) -> ExitCode:
    del environ
    path = settings.cvmfs_config
    try:
        before = (configuration.read(path) or b"").decode("utf-8", "replace")
    except Unavailable as error:
        log.error("%s", error)  # noqa: TRY400
        return ExitCode.KEPT
    after = configuration.render(chain).decode("ascii")
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), str(path), str(path)
    )
    out.writelines(lines)
    if before == after:
        out.write(f"# {path} stays as it is\n")
    return ExitCode.DONE


def _set_live(
    chain: ProxyList, settings: ClientSettings, environ: Mapping[str, str], out: TextIO
) -> ExitCode:
    del out
    code = ExitCode.DONE
    short = _short(chain)
    for repository in _mounted(settings):
        try:
            if not talk.uses(settings.cvmfs_talk, repository, short, environ):
                talk.set_live(settings.cvmfs_talk, repository, short, environ)
                log.info("%s uses now: %s", repository, short.to_cvmfs())
        except Unavailable as error:
            log.error("%s", error)  # noqa: TRY400
            code = ExitCode.KEPT
    return code


def _show_live(
    chain: ProxyList, settings: ClientSettings, environ: Mapping[str, str], out: TextIO
) -> ExitCode:
    code = ExitCode.DONE
    short = _short(chain)
    for repository in _mounted(settings):
        try:
            if talk.uses(settings.cvmfs_talk, repository, short, environ):
                out.write(f"# {repository} uses these proxies already\n")
            else:
                out.write(shlex.join(talk.command(settings.cvmfs_talk, repository, short)) + "\n")
        except Unavailable as error:
            log.error("%s", error)  # noqa: TRY400
            code = ExitCode.KEPT
    return code


def _mounted(settings: ClientSettings) -> tuple[str, ...]:
    try:
        return talk.mounted(settings.mounts)
    except Unavailable as error:
        log.warning("no repository is set: %s", error)
        return ()


def _short(chain: ProxyList) -> ProxyList:
    short = talk.shortened(chain)
    if short != chain:
        log.warning(
            "mounted repositories get %d of %d proxies: cvmfs_talk takes no longer list",
            len(short.members),
            len(chain.members),
        )
    return short
