"""What -d and -f print: the chain, or FRONTIER_SERVER; whoever reads it gets nothing else on stdout."""

import logging
from collections.abc import Mapping
from typing import TextIO

from shoal_client import frontier
from shoal_client.actions import ExitCode
from shoal_client.results import Result
from shoal_client.settings import ClientSettings, PacSite
from shoal_common.errors import InvalidProxyList
from shoal_common.heartbeat import Upstream

FRONTIER_SERVER = "FRONTIER_SERVER"
log = logging.getLogger(__name__)


def frontier_server(
    result: Result, settings: ClientSettings, environ: Mapping[str, str], out: TextIO
) -> ExitCode:
    """Print FRONTIER_SERVER with the chosen proxies and the site's, and unchanged if that cannot be."""
    server = environ.get(FRONTIER_SERVER, "")
    if not server:
        log.error("FRONTIER_SERVER is not set: there is nothing to put the proxies into")
        return ExitCode.FAILED
    rewritten = _rewritten(server, result, settings, environ)
    out.write(rewritten + "\n")
    return ExitCode.UNCHANGED if rewritten == server else ExitCode.CHANGED


def _rewritten(server: str, result: Result, settings: ClientSettings, environ: Mapping[str, str]) -> str:
    found = result.found
    if not found and not result.defaults.proxies:
        log.warning("no squid was found good: FRONTIER_SERVER stays as it is")
        return server
    if not found:
        log.warning("no squid was found good: FRONTIER_SERVER gets your own proxies alone")
    replace_pac = found and settings.frontier_pac is PacSite.REPLACE
    if frontier.asks_pac(server) and not replace_pac:
        log.info("FRONTIER_SERVER names a PAC file: the proxies that were found come behind those of it")
    chain = result.chain
    if frontier.balances(server, replace_pac=replace_pac) and result.equals.proxies != chain.proxies:
        log.info(
            "FRONTIER_SERVER balances load over its proxies: squids of another failure domain are left out"
        )
        chain = result.equals
    try:
        return frontier.rewrite(
            server, chain, taken=frontier.in_environment(environ), replace_pac=replace_pac
        )
    except InvalidProxyList as error:
        log.warning("FRONTIER_SERVER stays as it is: %s", error)
        return server


def dump(result: Result, out: TextIO) -> ExitCode:
    """The chain in double quotes, as released clients print it."""
    chain = result.chain
    text = chain.to_frontier() if result.service is Upstream.FRONTIER else chain.to_cvmfs()
    if text:
        out.write(f'"{text}"\n')
    if result.found:
        return ExitCode.UNCHANGED
    log.warning(
        "no squid was found good: %s", "these are the defaults" if text else "there is nothing to show"
    )
    return ExitCode.FAILED
