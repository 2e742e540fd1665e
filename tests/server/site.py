"""The web side of a server over squids that the test names, asked as from any address."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from werkzeug.test import TestResponse

from shoal_server.classic import RankBy
from shoal_server.history import History
from shoal_server.lookup import Lookup
from shoal_server.registry import Registry
from shoal_server.reports import Report, Reporter
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import LivenessRules, Place, Squid
from shoal_server.stores.history_memory import MemoryHistory
from shoal_server.web import create_app
from shoal_server.web.backend import Backend, Ending
from shoal_server.web.counts import LookupCounts
from tests.fakes import NOW, FlakyStore, Places

STRANGER = "203.0.113.7"
RULES = LivenessRules(suspect_after=90, dead_after=180)


class Reports:
    """Where processes leave their reports; those of `others` are the test's to add."""

    def __init__(self, store: FlakyStore) -> None:
        self._store = store
        self.others: list[Report] = []

    def now(self) -> float:
        return self._store.now()

    def put_report(self, report: Report) -> None:
        """Other processes are none of this test's affair."""

    def reports(self) -> list[Report]:
        return self.others


class Site:
    """A server's pages and answers; `connected`, `held` and `store.away` are the test's to switch."""

    def __init__(
        self,
        squids: Iterable[Squid] = (),
        places: Mapping[str, Place] | None = None,
        *,
        verify: bool = True,
        trusted: Sequence[str] = (),
        token: str = "",
        open_all: bool = False,
        away: bool = False,
        rank_by: RankBy = RankBy.DISTANCE,
    ) -> None:
        self.connected = True
        self.held = False
        self.ending = Ending()
        self.heartbeats: Mapping[str, int] = {}
        self.checks: Mapping[str, int] = {}
        self.stale_seconds = self.snapshot_seconds = 0.0
        self.vitals: Mapping[str, float] = {}
        self.built: float | None = None
        self.attributions: Sequence[str] = ()
        self.store = FlakyStore()
        self.store.away = away
        self.history = MemoryHistory(self.store.log)
        self.locator = locator = Places(places)
        registry = Registry(self.store, RULES)
        self.steady = time.monotonic()
        self.keeper = SnapshotKeeper(
            registry, locator, verify=verify, rank_by=rank_by, steady=lambda: self.steady
        )
        self.reports = Reports(self.store)
        self.reporter = Reporter(self.reports, self._report)
        self._counts = LookupCounts()
        self.backend = backend = Backend(
            lookup=Lookup(self.keeper, locator, verify=verify, open_all=open_all),
            keeper=self.keeper,
            liveness=RULES,
            reporter=self.reporter,
            counts=self._counts,
            drain=registry.drain,
            history=History(self.history, verify=verify),
            located=lambda address: address in locator.places,
            ending=self.ending,
            forget=registry.forget,
            geoip_built=lambda: self.built,
            attributions=lambda: self.attributions,
            operator_token=token,
            trusted_proxies=trusted,
        )
        self.client = create_app(backend).test_client()
        self.show(squids)

    def _report(self, now: float) -> Report:
        return Report(
            "here",
            now,
            connected=self.connected,
            held=self.held,
            heartbeats=self.heartbeats,
            checks=self.checks,
            lookups=self._counts.lookups(),
            vitals=self.vitals,
            stale_seconds=self.stale_seconds,
            snapshot_seconds=self.snapshot_seconds,
        )

    def hear(self, report: Report) -> None:
        """Let another process have reported."""
        self.reports.others.append(report)
        self.reporter.exchange(report.at)

    def show(self, squids: Iterable[Squid]) -> None:
        """Let the snapshot hold these squids too, for long enough to be whole."""
        for squid in squids:
            self.store.put([squid], [], [])
            self.store.put_verification(squid.id, squid.verification, [])
        self.keeper.refresh(NOW)
        self.steady += RULES.suspect_after + 1
        self.keeper.refresh(NOW)

    def get(self, path: str, address: str = STRANGER, method: str = "GET", **headers: str) -> TestResponse:
        """Ask from `address`; `X_Forwarded_For="…"` is a header."""
        return self.client.open(
            path,
            method=method,
            environ_base={"REMOTE_ADDR": address},
            headers={name.replace("_", "-"): text for name, text in headers.items()},
        )

    def told(self, path: str, address: str = STRANGER, **headers: str) -> list[dict[str, Any]]:
        """The entries of an answer, in its order."""
        return list((self.get(path, address, **headers).get_json() or {}).values())

    def names(self, path: str, address: str = STRANGER, **headers: str) -> list[str]:
        """The host names of an answer, in its order."""
        return [entry["hostname"] for entry in self.told(path, address, **headers)]
