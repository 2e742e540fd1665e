"""Watches a site through a fault and counts what it cost."""

import threading
import time
from types import TracebackType
from typing import Self

from testbed.process import wait_until
from tests.faults.figures import Row
from tests.faults.looks import Lists, Lookups
from tests.faults.site import Site
from tests.faults.witnesses import Witnesses

LOOKUP_THREADS = 4
BACK_SECONDS = 60.0


class Watch:
    """Load and count while the block runs. `finish` waits until the site is well and makes the row."""

    def __init__(self, site: Site, *, witnesses: str | None = None, counted: bool = False) -> None:
        """`witnesses`: the URL that they publish to, for faults that leave the store its data; `counted`:
        the servers' counters live through the fault and are held against the acknowledgements."""
        self._site = site
        self._counted = counted
        self._end = threading.Event()
        share = site.scale.lookups_per_second / LOOKUP_THREADS
        self._lookups = [Lookups(site, share, self._end) for _ in range(LOOKUP_THREADS)]
        self.lists = Lists(site, site.scale.looks_per_second, self._end)
        self._no_more = threading.Event()
        self._last_ailment = ""
        self.witnesses = Witnesses(site, witnesses, self._no_more) if witnesses else None

    def __enter__(self) -> Self:
        for thread in self._threads():
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._no_more.set()
        for thread in self._threads():
            thread.join(timeout=10.0)
        if self.witnesses:
            self.witnesses.close()

    def live(self, seconds: float) -> None:
        """Let so much time pass under load."""
        self._end.wait(seconds)

    @property
    def states(self) -> set[str]:
        """Every state that answers have declared."""
        return {state for thread in self._lookups for state in thread.states}

    def finish(self, fault: str, parts: str, *, note: str = "", within: float = BACK_SECONDS) -> Row:
        """To be called when the fault has ended: wait until all is well, count, and check the promises."""
        ended = time.monotonic()
        self._no_more.set()
        try:
            wait_until(self._well, within, f"all is well after: {fault}")
        except TimeoutError as error:
            raise AssertionError(f"{error}; {self._last_ailment}") from None
        back = time.monotonic() - ended
        self._end.set()
        for thread in self._threads():
            thread.join(timeout=10.0)
        unstored = self._unstored()
        row = self._row(fault, parts, back, unstored, note)
        row.keep()
        assert row.kept, self._complaint(row)
        return row

    def _well(self) -> bool:
        """Judged when no witness can be acknowledged any more: that one would be missed."""
        ailments = self._site.ailments()
        if self.witnesses:
            ailments += self.witnesses.ailments()
        self._last_ailment = str(ailments) if ailments else self._last_ailment
        return not ailments

    def _complaint(self, row: Row) -> str:
        troubles = [trouble for thread in self._lookups for trouble in thread.troubles]
        wrong = [*self.lists.lost, *self.lists.overlong][:3]
        logs = "\n".join(line for address in wrong for line in self._site.told_of(address))
        told = "\n".join(self._site.complaints()[-40:])
        counted = f"the servers have counted {dict(self._site.heartbeats())}" if row.unstored else ""
        return f"{row}\n{troubles[:5]}\nlost or offered too long: {wrong}, …\n{logs}\n{told}\n{counted}"

    def _unstored(self) -> int | None:
        if self.witnesses is None and not self._counted:
            return None
        missing = len(self.witnesses.unstored) if self.witnesses else 0
        return max(missing, self._uncounted() if self._counted else 0)

    def _uncounted(self) -> int:
        """Heartbeats acknowledged that no server has counted as stored."""
        self._site.fleet.halt()
        said = self._said()
        try:
            wait_until(lambda: self._accepted() >= said, 20.0, "every heartbeat counted")
        except TimeoutError:
            return said - self._accepted()
        return 0

    def _accepted(self) -> int:
        return self._site.heartbeats()["accepted"]

    def _said(self) -> int:
        return self._site.fleet.acknowledged + (self.witnesses.said if self.witnesses else 0)

    def _row(self, fault: str, parts: str, back: float, unstored: int | None, note: str) -> Row:
        fleet = self._site.fleet
        ended = [agent for agent in fleet.agents if agent.ended is not None]
        offered = [self.lists.offered_for.get(agent.address, 0.0) for agent in ended]
        return Row(
            fault=fault,
            parts=parts,
            agents=self._site.scale.agents,
            answered=sum(thread.answered for thread in self._lookups),
            failed=sum(len(thread.troubles) for thread in self._lookups),
            slowest_ms=1000 * max(thread.slowest for thread in self._lookups),
            live=len(fleet.live),
            lost=len(self.lists.lost),
            overlong=len(self.lists.overlong),
            offered=max(offered) if ended else None,
            promised=max(self.lists.promise(agent)[1] for agent in ended) if ended else None,
            acknowledged=self._said(),
            unstored=unstored,
            back=back,
            note=note,
            waited_for=self._last_ailment,
        )

    def _threads(self) -> list[threading.Thread]:
        extra = [self.witnesses] if self.witnesses else []
        return [*self._lookups, self.lists, *extra]
