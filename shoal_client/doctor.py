"""`shoal-client doctor`: which proxies each mounted repository really uses, why, and whether they work."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import TextIO
from urllib.parse import urlsplit

from shoal_client import administrator, cvmfs, live, outputs, talk, threads
from shoal_client.actions import Actions, ExitCode, worst
from shoal_client.choice import decide
from shoal_client.client import plan, recall, result_of, situation_of
from shoal_client.effective import Configuration, configuration
from shoal_client.gather import gather
from shoal_client.probing import probe_squid
from shoal_client.remarks import remarks
from shoal_client.results import Result
from shoal_client.settings import ClientSettings
from shoal_client.talk import Manager, Talk
from shoal_common.errors import InvalidProxyList, Unavailable
from shoal_common.heartbeat import Upstream
from shoal_common.hosts import HostPort
from shoal_common.probe import Target, Verdict
from shoal_common.proxylist import DIRECT, ProxyList

LATER = "repositories that are mounted later"
_PORT = 1080
"""Where a proxy without a port is looked for (libcurl, CURLOPT_PROXY)."""
_FALLBACKS = {Manager.REGULAR: "CVMFS_FALLBACK_PROXY", Manager.EXTERNAL: "CVMFS_EXTERNAL_FALLBACK_PROXY"}


@dataclass(frozen=True, slots=True)
class Patient:
    """What one set of proxies of one repository shows: what `proxy info` answers, and what the files say."""

    name: str
    manager: Manager
    info: str
    files: Configuration

    @property
    def chain(self) -> ProxyList:
        return talk.shown(self.info)

    @property
    def parameter(self) -> str:
        return live.PARAMETERS[self.manager]


def examine(settings: ClientSettings, environ: Mapping[str, str], now: float, out: TextIO) -> ExitCode:
    """Print the findings and change nothing; FAILED if a repository goes without a good proxy."""
    try:
        return _examine(settings, environ, now, out)
    except Unavailable as error:
        out.write(f"trouble: {error}\n")
        return ExitCode.FAILED


def _examine(settings: ClientSettings, environ: Mapping[str, str], now: float, out: TextIO) -> ExitCode:
    """Raises Unavailable if nothing can be found out."""
    result = _would_set(settings, environ, now, out)
    patients, code = _patients(settings, environ, out)
    verdicts = _test((proxy for patient in patients for proxy in patient.chain.proxies), settings)
    wanted = _wanted(result, settings, dict.fromkeys(patient.name for patient in patients), out)
    codes = [_report(patient, verdicts, wanted.get(patient.name), out) for patient in patients]
    later = configuration(settings.cvmfs_directory, "", live.mount_points(settings))
    out.write(f"{LATER}\n")
    _tell_origin(later, cvmfs.PROXIES, out)
    return worst([code, *codes])


def _would_set(settings: ClientSettings, environ: Mapping[str, str], now: float, out: TextIO) -> Result:
    remembered = recall(settings.state_dir, Upstream.CVMFS, lan=settings.lan_wait > 0)
    own = administrator.own(settings)
    looked_for = plan(Upstream.CVMFS, settings, Actions(dry_run=True), environ, remembered, own, now)
    findings = gather(looked_for)
    situation = situation_of(findings, remembered, looked_for)
    decision = decide(situation)
    for trouble in (*findings.troubles, *own.troubles):
        out.write(f"trouble: {trouble}\n")
    out.write("candidates\n")
    for remark in remarks(situation, decision):
        out.write(f"  {remark}\n")
    if remembered:
        minutes = max(0.0, now - remembered.time) / 60
        out.write(f"last choice that a run made or confirmed: {minutes:.0f} min ago\n")
    result = result_of(Upstream.CVMFS, decision, own)
    why_not = result.unknown or ("" if result.found else "no squid is good")
    out.write(f"a run would set: {f'nothing, {why_not}' if why_not else result.chain.to_cvmfs()}\n")
    return result


def _wanted(
    result: Result, settings: ClientSettings, names: Iterable[str], out: TextIO
) -> dict[str, ProxyList]:
    """What a run would set for each repository, where it would set something."""
    wanted: dict[str, ProxyList] = {}
    if result.unknown or not result.found:
        return wanted
    try:
        view = outputs.view_after(result, settings)
    except InvalidProxyList as error:
        out.write(f"trouble: {error}\n")
        return wanted
    for name in names:
        try:
            wanted[name] = live.wanted(result, settings, name, Manager.REGULAR, view)
        except Unavailable as error:
            out.write(f"trouble: {error}\n")
    return wanted


def _patients(
    settings: ClientSettings, environ: Mapping[str, str], out: TextIO
) -> tuple[list[Patient], ExitCode]:
    mounts = live.mount_points(settings)
    patients, code = [], ExitCode.UNCHANGED
    for name in mounts:
        files = configuration(settings.cvmfs_directory, name, mounts)
        for manager in Manager:
            try:
                info = Talk(settings.cvmfs_talk, name, manager, environ).info()
            except Unavailable as error:
                out.write(f"{name}: {error}\n")
                code = ExitCode.FAILED
                break
            patients.append(Patient(name, manager, info, files))
    return patients, code


def _test(proxies: Iterable[str], settings: ClientSettings) -> dict[str, Verdict]:
    """A verdict for each proxy, all tested at once, in threads that do not hold up a signal.

    Raises Unavailable if none can be tested.
    """
    targets = [Target.cvmfs(url) for url in settings.probe_urls]
    results: SimpleQueue[tuple[str, Verdict]] = SimpleQueue()
    unique = set(proxies)

    def test(url: str) -> None:
        parts = urlsplit(url)
        place = HostPort(parts.hostname or "", parts.port or _PORT)
        results.put((url, probe_squid(place, targets, settings.probe_deadline)))

    for url in unique:
        threads.start(partial(test, url))
    return dict(results.get() for _ in unique)


def _report(
    patient: Patient, verdicts: Mapping[str, Verdict], wanted: ProxyList | None, out: TextIO
) -> ExitCode:
    kind = "" if patient.manager is Manager.REGULAR else ", external data"
    out.write(f"{patient.name}{kind}\n")
    active = talk.active(patient.info) or "nothing"
    out.write(f"  uses now {active} of {patient.chain.to_cvmfs() or 'none'}\n")
    for proxy in patient.chain.proxies:
        verdict = verdicts[proxy]
        out.write(f"  {proxy} is {'good' if verdict.good else 'bad: ' + verdict.reason}\n")
    _tell_origin(patient.files, patient.parameter, out)
    name = _FALLBACKS[patient.manager]
    if fallback := patient.files.text(name):
        out.write(f"  falls back to {fallback} ({name}, in {patient.files.values[name].files[-1]}), ")
        out.write("for which CVMFS drops every DIRECT\n")
    for trouble in (*patient.files.troubles, *patient.files.unknown):
        out.write(f"  trouble: {trouble}\n")
    _tell_live(patient, wanted, out)
    if patient.manager is Manager.EXTERNAL or any(verdicts[proxy].good for proxy in patient.chain.proxies):
        return ExitCode.UNCHANGED
    if wanted and not wanted.proxies and _is_set(patient, wanted):
        return ExitCode.UNCHANGED
    out.write("  trouble: no proxy of it is good\n")
    return ExitCode.FAILED


def _tell_origin(files: Configuration, parameter: str, out: TextIO) -> None:
    found = files.values.get(parameter)
    if found is None:
        out.write(f"  no file sets {parameter}\n")
        return
    *hidden, winner = found.files
    also = f" (also in {', '.join(map(str, hidden))}, which it overrides or extends)" if hidden else ""
    out.write(f"  {winner} sets {parameter} to {found.text or 'nothing'}{also}\n")


def _tell_live(patient: Patient, wanted: ProxyList | None, out: TextIO) -> None:
    try:
        configured = ProxyList.parse(patient.files.text(patient.parameter))
    except InvalidProxyList as error:
        out.write(f"  trouble: {patient.parameter}: {error}\n")
        return
    direct = DIRECT in patient.chain.members and DIRECT not in configured.members
    if configured.groups and not talk.matches(patient.info, configured):
        out.write(
            "  what it uses was set while it was mounted (cvmfs_talk); the next mount reads the files\n"
        )
    if direct and patient.manager is Manager.REGULAR:
        out.write("  DIRECT stands in no file of it\n")
    if patient.manager is Manager.REGULAR and wanted:
        out.write(f"  a run would {'leave it so' if _is_set(patient, wanted) else 'change it'}\n")


def _is_set(patient: Patient, wanted: ProxyList) -> bool:
    return talk.matches(patient.info, talk.shortened(wanted))
