"""What each server process says of itself, so that any of them can speak for all.

A process that only answers lookups hears no heartbeats: whether they arrive, how many, and whether
expiry is held, it learns from the reports of those that do, through the store they share.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from shoal_common.errors import Unavailable

REPORT_SECONDS = 2.0
BELIEVED_SECONDS = 10.0
"""A report older than this is of a process that has died."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """The state of one process that takes heartbeats, at `at` (seconds since 1970).

    `connected`: they can reach it; `held`: it holds expiry; `heartbeats`: how many it took or refused,
    by outcome, since its start.
    """

    server: str
    at: float
    connected: bool
    held: bool
    heartbeats: Mapping[str, int]


class ReportStore(Protocol):
    """The part of the store that keeps reports; `now` apart, its methods raise Unavailable."""

    def now(self) -> float:
        """The time by the store's clock (seconds since 1970)."""

    def put_report(self, report: Report) -> None:
        """Replace the server's last report."""

    def reports(self) -> list[Report]:
        """The last report of every server that has reported in the last hour."""


class Reporter:
    """Sends this process's report, if it takes heartbeats, and joins those of all that do.

    `own` makes the report for a given time; None for a process that takes none.
    """

    def __init__(self, store: ReportStore, own: Callable[[float], Report] | None) -> None:
        self._store = store
        self._own = own
        self._others: tuple[Report, ...] = ()

    def run(self, stop: threading.Event) -> None:
        """Exchange reports until told to stop."""
        while not stop.is_set():
            self.exchange(self._store.now())
            stop.wait(REPORT_SECONDS)

    def exchange(self, now: float) -> None:
        """Send and fetch once; while the store is away the last known reports count."""
        own = self._own(now) if self._own else None
        try:
            if own:
                self._store.put_report(own)
            known = self._store.reports()
        except Unavailable as error:
            log.debug("reports not exchanged: %s", error)
            return
        self._others = tuple(
            report
            for report in known
            if now - report.at < BELIEVED_SECONDS and (own is None or report.server != own.server)
        )

    @property
    def connected(self) -> bool:
        """Whether heartbeats reach any server."""
        return any(report.connected for report in self._all())

    @property
    def held(self) -> bool:
        """Whether any server holds expiry."""
        return any(report.held for report in self._all())

    @property
    def heartbeats(self) -> Mapping[str, int]:
        """Heartbeats of all servers by outcome, each since its own start."""
        total: Counter[str] = Counter()
        for report in self._all():
            total.update(report.heartbeats)
        return total

    def _all(self) -> Sequence[Report]:
        return (*self._others, self._own(self._store.now())) if self._own else self._others
