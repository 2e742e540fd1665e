"""What each server process says of itself, so that any of them can speak for all.

A process that only answers lookups hears no heartbeats: whether they arrive, how many, and whether
expiry is held, it learns from the reports of those that do, through the store they share. In the same
way those that only take heartbeats or check squids can be seen by whoever asks one that answers.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from dataclasses import fields as fields_of
from typing import Any, Protocol

from shoal_common.errors import Unavailable

REPORT_SECONDS = 2.0
BELIEVED_SECONDS = 10.0
"""A report older than this is of a process that has died."""
LATE_COUNT = 30
"""Lateness is the worst of the last so many exchanges, a minute's."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lookups:
    """Lookups of one process since its start, by kind: how many came to which outcome, how many took so
    long or less (by the upper end of the bucket in seconds, as text), and how long all took (s).
    """

    outcomes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    buckets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """The state of one process at `at` (seconds since 1970).

    `connected`: heartbeats can reach it; `held`: it holds expiry; `heartbeats`: how many it took or
    refused, by outcome, since its start; `checks`: how many checks of squids came to which verdict;
    `stale_seconds`: for how long its store has been away; `snapshot_seconds`: since when its picture of
    the squids was not held against the store; `late_seconds`: by how much its clockwork ran late, at
    worst in the last minute; `vitals`: see `vitals.vitals`.
    """

    server: str
    at: float
    connected: bool = False
    held: bool = False
    heartbeats: Mapping[str, int] = field(default_factory=dict)
    checks: Mapping[str, int] = field(default_factory=dict)
    lookups: Lookups = field(default_factory=Lookups)
    stale_seconds: float = 0.0
    snapshot_seconds: float = 0.0
    late_seconds: float = 0.0
    vitals: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> "Report":
        """From a record, which may be an older server's (with fewer fields) or a newer one's (with more)."""
        lookups = fields.get("lookups") or {}
        return replace(cls(**_known(cls, fields)), lookups=Lookups(**_known(Lookups, lookups)))


def _known(kind: type, fields: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields_of(kind)}
    return {name: value for name, value in fields.items() if name in names}


class ReportStore(Protocol):
    """The part of the store that keeps reports; `now` apart, its methods raise Unavailable."""

    def now(self) -> float:
        """The time by the store's clock (seconds since 1970)."""

    def put_report(self, report: Report) -> None:
        """Replace the server's last report."""

    def reports(self) -> list[Report]:
        """The last report of every server that has reported in the last hour."""


class Reporter:
    """Sends this process's report and joins those of all.

    `own` makes the report for a given time, as far as every answer needs it; `completed` adds the rest.
    """

    def __init__(
        self,
        store: ReportStore,
        own: Callable[[float], Report],
        completed: Callable[[Report], Report] = lambda report: report,
    ) -> None:
        self._store = store
        self._own = own
        self._completed = completed
        self._others: tuple[Report, ...] = ()
        self._late: deque[float] = deque(maxlen=LATE_COUNT)
        self.written = 0.0
        """When the last report was begun that the store took (seconds since 1970, by its clock): a store may
        answer, and refuse whatever is to be written."""

    def run(self, stop: threading.Event) -> None:
        """Exchange reports until told to stop."""
        while not stop.is_set():
            self.exchange(self._store.now())
            due = time.monotonic() + REPORT_SECONDS
            if not stop.wait(REPORT_SECONDS):
                self._late.append(max(0.0, time.monotonic() - due))

    def exchange(self, now: float) -> None:
        """Send and fetch once; while the store is away the last known reports count. One that answers and
        takes nothing is not away: nobody's report is new there.
        """
        own = self.own(now)
        try:
            self._store.put_report(own)
            self.written = now
        except Unavailable as error:
            log.debug("report not sent: %s", error)
        try:
            known = self._store.reports()
        except Unavailable as error:
            log.debug("reports not fetched: %s", error)
            return
        self._others = tuple(
            report for report in known if now - report.at < BELIEVED_SECONDS and report.server != own.server
        )

    def own(self, now: float) -> Report:
        """This process's whole report."""
        return replace(self._completed(self._own(now)), late_seconds=max(self._late, default=0.0))

    @property
    def connected(self) -> bool:
        """Whether heartbeats reach any server."""
        return any(report.connected for report in self._brief())

    @property
    def held(self) -> bool:
        """Whether any server holds expiry."""
        return any(report.held for report in self._brief())

    @property
    def heartbeats(self) -> Mapping[str, int]:
        """Heartbeats of all servers by outcome, each since its own start."""
        total: Counter[str] = Counter()
        for report in self._brief():
            total.update(report.heartbeats)
        return total

    @property
    def all(self) -> Sequence[Report]:
        """The whole reports of all processes that live; this one's is made now."""
        return (*self._others, self.own(self._store.now()))

    def _brief(self) -> Sequence[Report]:
        return (*self._others, self._own(self._store.now()))
