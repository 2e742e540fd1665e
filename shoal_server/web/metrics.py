"""`/metrics` for Prometheus, read when asked for: the list of squids as this process sees it, and what
every process reports of itself.

Whichever process is asked speaks for all: what belongs to one of them is labelled with its name, so that
nothing is counted twice and no counter runs backwards when one ends. No label's values depend on how
many squids there are.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from shoal_server.reports import Report
from shoal_server.squid import Liveness, Reach, Squid
from shoal_server.web.backend import Backend
from shoal_server.web.headline import ACCEPTED

_VITALS = {
    "memory_bytes": "Memory that is resident.",
    "open_fds": "File descriptors in use.",
    "start_time_seconds": "When it started, in seconds since 1970.",
}


def blueprint(backend: Backend) -> Blueprint:
    routes = Blueprint("metrics", __name__)
    registry = CollectorRegistry()
    registry.register(_State(backend))

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    return routes


class _State(Collector):
    """What is known at the moment of asking."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def describe(self) -> Iterator[Metric]:
        """Nothing: to know the names is not worth reading all values when it is registered."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        backend = self._backend
        now, reports = backend.keeper.now(), sorted(backend.reporter.all, key=lambda one: one.server)
        squids = [listed.squid for listed in backend.keeper.current.listed]
        yield self._states(squids, now)
        yield _gauge("shoal_load_kb_per_second", "What all squids send.", sum(one.load for one in squids))
        capacity = sum(one.max_load for one in squids)
        yield _gauge("shoal_capacity_kb_per_second", "What all squids could send.", capacity)
        held = float(any(one.held for one in reports))
        yield _gauge("shoal_hold", "1 while expiry is held: improbably many squids fell silent.", held)
        connected = float(any(one.connected for one in reports))
        yield _gauge("shoal_intake_connected", "1 while heartbeats can reach a server.", connected)
        ready = float(backend.readiness == "ready")
        yield _gauge("shoal_ready", "1 while requests are to be sent to this process.", ready)
        built = backend.geoip_built()
        if built is not None:
            yield _gauge("shoal_geoip_age_seconds", "Age of the oldest GeoIP database in use.", now - built)
        yield from _processes(reports, now)
        yield _heartbeats(reports)
        yield _checks(reports)
        yield from _lookups(reports)

    def _states(self, squids: Sequence[Squid], now: float) -> Metric:
        family = GaugeMetricFamily("shoal_squids", "Squids listed.", labels=["liveness", "reach", "draining"])
        rules = self._backend.liveness
        counts = Counter((one.liveness(now, rules), one.verification.reach, one.draining) for one in squids)
        for liveness in Liveness:
            for reach in Reach:
                for draining in (False, True):
                    labels = [liveness.value, reach.value, str(draining).lower()]
                    family.add_metric(labels, counts[liveness, reach, draining])
        return family


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


def _processes(reports: Sequence[Report], now: float) -> Iterator[Metric]:
    """How each process is."""
    for name, meaning, values in (
        ("report_age", "Since when a process has not reported.", [now - one.at for one in reports]),
        ("store_stale", "For how long its store has been away.", [one.stale_seconds for one in reports]),
        (
            "snapshot_age",
            "Since when its picture of the squids is old.",
            [one.snapshot_seconds for one in reports],
        ),
        ("loop_late", "How late its clockwork ran at worst in a minute.", [r.late_seconds for r in reports]),
    ):
        family = GaugeMetricFamily(f"shoal_{name}_seconds", meaning, labels=["server"])
        for report, value in zip(reports, values, strict=True):
            family.add_metric([report.server], max(0.0, value))
        yield family
    cpu = CounterMetricFamily("shoal_process_cpu_seconds", "CPU time that it has used.", labels=["server"])
    for report in reports:
        cpu.add_metric([report.server], report.vitals.get("cpu_seconds", 0.0))
    yield cpu
    for name, meaning in _VITALS.items():
        family = GaugeMetricFamily(f"shoal_process_{name}", meaning, labels=["server"])
        for report in reports:
            if name in report.vitals:
                family.add_metric([report.server], report.vitals[name])
        yield family


def _heartbeats(reports: Sequence[Report]) -> Metric:
    family = CounterMetricFamily(
        "shoal_heartbeats",
        "Messages that were accepted, or refused for the field named as reason.",
        labels=["server", "outcome", "reason"],
    )
    for report in reports:
        family.add_metric([report.server, ACCEPTED, ""], report.heartbeats.get(ACCEPTED, 0))
        for reason, number in sorted(report.heartbeats.items()):
            if reason != ACCEPTED:
                family.add_metric([report.server, "refused", reason], number)
    return family


def _checks(reports: Sequence[Report]) -> Metric:
    family = CounterMetricFamily(
        "shoal_checks", "Checks of squids, by what was found.", labels=["server", "outcome"]
    )
    for report in reports:
        for outcome, number in sorted(report.checks.items()):
            family.add_metric([report.server, outcome], number)
    return family


def _lookups(reports: Sequence[Report]) -> Iterator[Metric]:
    counts = CounterMetricFamily(
        "shoal_lookups",
        "Lookups by what was asked and what came of it.",
        labels=["server", "kind", "outcome"],
    )
    times = HistogramMetricFamily(
        "shoal_lookup_seconds", "How long lookups took in the server.", labels=["server", "kind"]
    )
    for report in reports:
        for kind, outcomes in sorted(report.lookups.outcomes.items()):
            for outcome, number in outcomes.items():
                counts.add_metric([report.server, kind, outcome], number)
        for kind, buckets in sorted(report.lookups.buckets.items()):
            seconds = report.lookups.seconds.get(kind, 0.0)
            times.add_metric([report.server, kind], list(buckets.items()), seconds)
    yield counts
    yield times
