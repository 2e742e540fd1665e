"""One run of the client: find and test squids, choose, and hand the choice to what it is for.

Nothing is changed but for squids that this very run has found good; whatever goes wrong, what was there
stays.
"""

import logging
import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from shoal_client import administrator, cms, frontier, node, outputs, printing, state
from shoal_client.actions import Actions, ExitCode, worst
from shoal_client.administrator import Own
from shoal_client.candidates import LISTEN_AGAIN_SECONDS
from shoal_client.choice import Decision, Situation, decide
from shoal_client.gather import Findings, Plan, gather
from shoal_client.remarks import remarks
from shoal_client.results import Result
from shoal_client.settings import ClientSettings
from shoal_client.state import Remembered
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import Upstream
from shoal_common.hosts import HostPort
from shoal_common.probe import Target
from shoal_common.proxylist import ProxyList

STUCK_SECONDS = 3600.0
"""No run takes so long, its waits for servers, squids, cvmfs_talk and reload_command together."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Streams:
    """`out` gets what -d, -f and --dry-run print; `explained` what --explain does."""

    out: TextIO
    explained: TextIO


@dataclass(frozen=True, slots=True)
class Run:
    """How a run ended, and that in one line for syslog."""

    code: ExitCode
    summary: str


def run(settings: ClientSettings, actions: Actions, environ: Mapping[str, str], streams: Streams) -> Run:
    """Do what `actions` says."""
    where = _state_directory(settings, actions, environ)
    with ExitStack() as held:
        try:
            if where and actions.configures:
                held.enter_context(state.lock(where, settings.probe_deadline))
        except state.Busy as busy:
            return _left(busy)
        except Unavailable as error:
            log.warning("going on without a lock: %s", error)
        printed = actions.frontier or actions.dump
        wanted = (actions.service,) if printed else outputs.services(settings)
        runs = [_serve(service, settings, actions, environ, streams, where) for service in wanted]
    code = worst(each.code for each in runs)
    return Run(code, "; ".join(each.summary for each in runs) or "nothing is configured to be written")


def _left(busy: state.Busy) -> Run:
    """To another run, which will do the work; unless it hangs, which somebody has to look at."""
    if busy.seconds > STUCK_SECONDS:
        log.error("%s and hangs: nothing was done, end it", busy)
        return Run(ExitCode.FAILED, f"could not: {busy} and hangs")
    log.warning("%s: left to it", busy)
    return Run(ExitCode.UNCHANGED, f"{busy}: left to it")


def _serve(
    service: Upstream,
    settings: ClientSettings,
    actions: Actions,
    environ: Mapping[str, str],
    streams: Streams,
    where: Path | None,
) -> Run:
    now = time.time()
    remembered = recall(where, service, lan=_lan_wait(settings, actions) > 0)
    own = administrator.own(settings)
    looked_for = plan(service, settings, actions, environ, remembered, own, now)
    try:
        findings = gather(looked_for)
    except Unavailable as error:
        log.error("nothing was done for %s: %s", service, error)  # noqa: TRY400 - not ours: no traceback
        return Run(ExitCode.FAILED, f"{service.value} could not: {error}")
    situation = situation_of(findings, remembered, looked_for)
    decision = decide(situation)
    _tell(findings, situation, decision, remembered, streams if actions.explain else None)
    _tell_own(own)
    result = result_of(service, decision, own)
    if actions.dump:
        code = printing.dump(result, streams.out)
    elif actions.frontier:
        code = printing.frontier_server(result, settings, environ, streams.out)
    else:
        code = outputs.apply(result, settings, environ, streams.out, dry_run=actions.dry_run)
    if where and decision.groups and not decision.kept and actions.remembers:
        _remember(where, service, Remembered(now, decision.groups, decision.preferred))
    return Run(code, _summary(service, code, result, situation))


def _summary(service: Upstream, code: ExitCode, result: Result, situation: Situation) -> str:
    words = {ExitCode.FAILED: "could not", ExitCode.KEPT: "kept", ExitCode.CHANGED: "changed"}
    good, tested = len(situation.good), len(situation.candidates)
    chain = result.chain.to_cvmfs() if result.found else "what was there stays"
    return f"{service.value} {words.get(code, 'unchanged')}: {chain} ({good} of {tested} candidates good)"


def situation_of(findings: Findings, remembered: Remembered | None, looked_for: Plan) -> Situation:
    """What was found, as the choice needs it."""
    return Situation(
        candidates=findings.candidates,
        verdicts=findings.verdicts,
        present=remembered.groups if remembered else (),
        wanted=looked_for.wanted,
        answered=findings.answered,
        node=node.identity(),
        now=looked_for.now,
        preferred=remembered.preferred if remembered else None,
        farthest=looked_for.farthest,
    )


def plan(
    service: Upstream,
    settings: ClientSettings,
    actions: Actions,
    environ: Mapping[str, str],
    remembered: Remembered | None,
    own: Own,
    now: float,
) -> Plan:
    """What to look for, for `service`; without `own` proxies far squids are better than none."""
    servers, targets = settings.servers, [Target.cvmfs(url) for url in settings.probe_urls]
    if service is Upstream.FRONTIER:
        servers = settings.frontier_servers or servers
        asked = _frontier_servers(settings, environ if actions.frontier else {})
        targets = [Target.frontier(url) for url in asked] or targets
    return Plan(
        servers=servers,
        service=service,
        targets=tuple(targets),
        wanted=settings.squids,
        now=now,
        remembered=remembered.members if remembered else (),
        server_first=actions.force_server,
        server_deadline=settings.server_deadline,
        probe_deadline=settings.probe_deadline,
        grace=settings.grace,
        lan_wait=_lan_wait(settings, actions),
        lan_port=settings.lan_port,
        confirm=_to_confirm(remembered, now) if actions.configures else frozenset(),
        farthest=settings.farthest if settings.farthest and own.chain.groups else math.inf,
    )


def _lan_wait(settings: ClientSettings, actions: Actions) -> float:
    return 0.0 if actions.skip_broadcast else settings.lan_wait


def _to_confirm(remembered: Remembered | None, now: float) -> frozenset[HostPort]:
    """The squids of the LAN in use that have not been heard for long."""
    members = remembered.members if remembered else ()
    return frozenset(one.place for one in members if one.heard and one.silent(now, LISTEN_AGAIN_SECONDS))


def _frontier_servers(settings: ClientSettings, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Those that jobs use: of $FRONTIER_SERVER, of the configured string, or of CMS's file."""
    for text in (environ.get(printing.FRONTIER_SERVER, ""), settings.frontier_server):
        if found := frontier.server_urls(text):
            return found
    path = settings.site_local_config
    return cms.server_urls(path)[: frontier.MOST_SERVERS] if path else ()


def result_of(service: Upstream, decision: Decision, own: Own) -> Result:
    """What was decided, with the administrator's own proxies."""
    chosen = ProxyList.of([member.proxy for member in group] for group in decision.groups)
    near = ProxyList.of([member.proxy] for member in decision.near)
    return Result(
        service, chosen, own.chain, own.external, decision.kept, own.unknown, near, alone=decision.too_far
    )


def _tell_own(own: Own) -> None:
    if own.unknown:
        log.warning("your own proxies are not known: %s", own.unknown)
    for trouble in own.troubles:
        log.warning("%s", trouble)


def _tell(
    findings: Findings,
    situation: Situation,
    decision: Decision,
    remembered: Remembered | None,
    streams: Streams | None,
) -> None:
    for trouble in findings.troubles:
        log.warning("%s", trouble)
    for remark in remarks(situation, decision):
        log.info("%s", remark)
        if streams:
            streams.explained.write(f"# {remark}\n")
    if remembered and (decision.kept or not (decision.groups or decision.too_far)):
        known = ", ".join(member.proxy for member in remembered.members)
        minutes = max(0.0, situation.now - remembered.time) / 60
        log.warning("last good choice, %.0f min ago: %s", minutes, known)


def _state_directory(settings: ClientSettings, actions: Actions, environ: Mapping[str, str]) -> Path | None:
    try:
        where = state.directory(settings.state_dir, environ, create=actions.remembers)
    except Unavailable as error:
        log.warning("nothing is remembered: %s", error)
        return None
    return where


def recall(where: Path | None, service: Upstream, *, lan: bool = True) -> Remembered | None:
    """The last choice, without squids of the LAN unless `lan`; None and a warning if it cannot be read."""
    try:
        found = state.load(where, service) if where else None
    except Unavailable as error:
        log.warning("%s", error)
        return None
    return found if lan or found is None else found.without_lan()


def _remember(where: Path, service: Upstream, remembered: Remembered) -> None:
    try:
        state.save(where, service, remembered)
    except Unavailable as error:
        log.warning("%s", error)
