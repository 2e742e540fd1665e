"""One run of the client: find and test squids, choose, and hand the choice to what it is for.

Nothing is changed but for squids that this very run has found good; whatever goes wrong, what was there
stays.
"""

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from shoal_client import cvmfs, frontier, outputs, state
from shoal_client.actions import Actions, ExitCode
from shoal_client.choice import Decision, decide
from shoal_client.gather import Findings, Plan, gather
from shoal_client.settings import ClientSettings
from shoal_client.state import Remembered
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import Upstream
from shoal_common.probe import Target
from shoal_common.proxylist import ProxyList

log = logging.getLogger(__name__)


def run(settings: ClientSettings, actions: Actions, environ: Mapping[str, str], out: TextIO) -> ExitCode:
    """Do what `actions` says; `out` gets what -d, -f and --dry-run print, and nothing else."""
    where = _state_directory(settings, actions, environ)
    with ExitStack() as held:
        try:
            if where and actions.configures:
                held.enter_context(state.lock(where, settings.probe_deadline))
        except state.Busy as busy:
            log.warning("%s: left to it", busy)
            return ExitCode.DONE
        except Unavailable as error:
            log.warning("going on without a lock: %s", error)
        return _run(settings, actions, environ, out, where)


def _run(
    settings: ClientSettings, actions: Actions, environ: Mapping[str, str], out: TextIO, where: Path | None
) -> ExitCode:
    now = time.time()
    remembered = _recall(where, actions.service)
    findings = gather(_plan(settings, actions, environ, remembered))
    decision = decide(
        findings.candidates,
        findings.verdicts,
        remembered.groups if remembered else (),
        settings.squids,
        answered=findings.answered,
    )
    _tell(findings, decision, remembered, now)
    chosen = ProxyList.of([member.proxy for member in group] for group in decision.groups)
    result = outputs.Result(chosen, _defaults(settings), decision.kept)
    if actions.frontier:
        code = outputs.frontier(result, actions, environ, out)
    else:
        code = outputs.cvmfs(result, settings, actions, environ, out)
    if where and decision.groups and not decision.kept and actions.remembers:
        _remember(where, actions.service, Remembered(now, decision.groups))
    return code


def _plan(
    settings: ClientSettings, actions: Actions, environ: Mapping[str, str], remembered: Remembered | None
) -> Plan:
    servers, targets = settings.servers, [Target.cvmfs(url) for url in settings.probe_urls]
    if actions.frontier:
        servers = settings.frontier_servers or servers
        asked = frontier.server_urls(environ.get(outputs.FRONTIER_SERVER, ""))
        targets = [Target.frontier(url) for url in asked] or targets
    return Plan(
        servers=servers,
        service=actions.service,
        targets=tuple(targets),
        wanted=settings.squids,
        remembered=remembered.members if remembered else (),
        server_first=actions.force_server,
        server_deadline=settings.server_deadline,
        probe_deadline=settings.probe_deadline,
        grace=settings.grace,
        lan_wait=0.0 if actions.skip_broadcast else settings.lan_wait,
        lan_port=settings.lan_port,
    )


def _defaults(settings: ClientSettings) -> ProxyList:
    if settings.default_proxy.groups:
        return settings.default_proxy
    found = cvmfs.defaults(settings.cvmfs_directory)
    if found.trouble:
        log.warning("%s", found.trouble)
    return found.chain


def _tell(findings: Findings, decision: Decision, remembered: Remembered | None, now: float) -> None:
    for trouble in findings.troubles:
        log.warning("%s", trouble)
    for remark in decision.remarks:
        place = remark.candidate.proxy
        log.info("%s %s: %s", place, "taken" if remark.taken else "not taken", remark.reason)
    if remembered and (decision.kept or not decision.groups):
        known = ", ".join(member.proxy for member in remembered.members)
        minutes = max(0.0, now - remembered.time) / 60
        log.warning("last good choice, %.0f min ago: %s", minutes, known)


def _state_directory(settings: ClientSettings, actions: Actions, environ: Mapping[str, str]) -> Path | None:
    try:
        where = state.directory(settings.state_dir, environ, create=actions.remembers)
    except Unavailable as error:
        log.warning("nothing is remembered: %s", error)
        return None
    return where


def _recall(where: Path | None, service: Upstream) -> Remembered | None:
    try:
        return state.load(where, service) if where else None
    except Unavailable as error:
        log.warning("%s", error)
        return None


def _remember(where: Path, service: Upstream, remembered: Remembered) -> None:
    try:
        state.save(where, service, remembered)
    except Unavailable as error:
        log.warning("%s", error)
