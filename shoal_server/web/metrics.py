"""`/metrics` for Prometheus: the state of the list and of what it depends on, read when asked for."""

from collections import Counter
from collections.abc import Iterator

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from shoal_server.squid import Liveness, Reach
from shoal_server.web.backend import Backend


def blueprint(backend: Backend) -> Blueprint:
    routes = Blueprint("metrics", __name__)
    registry = CollectorRegistry()
    registry.register(_State(backend))

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    return routes


class _State(Collector):
    """Everything is derived from the present state, so several processes need no shared files.

    Labels have few values whatever the number of squids.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def collect(self) -> Iterator[Metric]:
        keeper, reporter = self._backend.keeper, self._backend.reporter
        now = keeper.now()
        yield self._squids(now)
        stale = 0.0 if keeper.stale_since is None else now - keeper.stale_since
        for name, meaning, value in (
            ("shoal_hold", "1 while expiry is held: improbably many squids fell silent.", reporter.held),
            ("shoal_intake_connected", "1 while heartbeats can reach a server.", reporter.connected),
            ("shoal_store_stale_seconds", "For how long the store has been away.", stale),
        ):
            yield GaugeMetricFamily(name, meaning, value=float(value))
        beats = CounterMetricFamily(
            "shoal_heartbeats",
            "Messages: accepted, or refused by the field that was wrong.",
            labels=["outcome"],
        )
        for outcome, number in sorted(reporter.heartbeats.items()):
            beats.add_metric([outcome], number)
        yield beats

    def _squids(self, now: float) -> Metric:
        squids = GaugeMetricFamily("shoal_squids", "Squids listed.", labels=["liveness", "reach", "draining"])
        rules = self._backend.liveness
        counts = Counter(
            (squid.liveness(now, rules), squid.verification.reach, squid.draining)
            for squid in (listed.squid for listed in self._backend.keeper.current.listed)
        )
        for liveness in Liveness:
            for reach in Reach:
                for draining in (False, True):
                    labels = [liveness.value, reach.value, str(draining).lower()]
                    squids.add_metric(labels, counts[liveness, reach, draining])
        return squids
