"""Finds candidates and tests them, all at once: the servers, the LAN and the tests go on side by side.

Only one thread looks at what came in. The others deliver events to it and end with the process, so that
whatever hangs costs its deadline once.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event

from shoal_client import directory, discover, threads
from shoal_client.candidates import SILENT_SECONDS, Candidate, merge, missing
from shoal_client.directory import Answer, Question
from shoal_client.probing import probe_squid
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import Upstream
from shoal_common.hosts import HostPort
from shoal_common.probe import Outcome, Target, Verdict

SPARE = 5
"""How many more squids are asked for than are wanted; released clients do the same."""
PATIENCE = 4.0
"""So many times the grace a second failure domain is waited for: it is farther away. Not by a worker
that has no squids yet, which is in a hurry; its next run completes the choice."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to look for, where and how long; times in seconds, `now` since 1970.

    `confirm`: squids in use of the LAN that are listened for until they announce themselves again.
    `farthest`: how far away (effective km) a squid may be that is of use.
    """

    servers: tuple[str, ...]
    service: Upstream
    targets: tuple[Target, ...]
    wanted: int
    now: float
    remembered: tuple[Candidate, ...] = ()
    server_first: bool = False
    server_deadline: float = 5.0
    probe_deadline: float = 3.0
    grace: float = 0.15
    lan_wait: float = 2.0
    lan_port: int = 50000
    confirm: frozenset[HostPort] = frozenset()
    farthest: float = math.inf


@dataclass(frozen=True, slots=True)
class Findings:
    """The candidates in order of preference, a verdict for each, and whether a server listed any."""

    candidates: tuple[Candidate, ...]
    verdicts: dict[HostPort, Verdict]
    answered: bool
    troubles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _More:
    """What a server says that is asked for IPv6 too, since nothing of the first answer is good."""

    server: str
    answer: Answer


_Event = Answer | _More | Candidate | tuple[HostPort, Verdict]


def gather(plan: Plan) -> Findings:
    """Return when enough squids are known to be good, or nothing more is to be expected.

    Raises Unavailable if this machine can do nothing of that.
    """
    stop = Event()
    try:
        return _Gathering(plan, stop).run()
    finally:
        stop.set()


def _as_told(used: Candidate, state: str, *, full: bool, now: float) -> Candidate:
    """A squid in use that neither a server's answer nor the LAN tells of now."""
    if used.heard:
        return replace(used, lapsed=used.silent(now, SILENT_SECONDS))
    return missing(used, state, full=full, now=now)


@dataclass(slots=True)
class _Gathering:
    plan: Plan
    stop: Event
    events: SimpleQueue[_Event] = field(default_factory=SimpleQueue)
    answer: Answer | None = None
    more: dict[str, Answer | None] = field(default_factory=dict)
    heard: list[Candidate] = field(default_factory=list)
    due: dict[HostPort, float] = field(default_factory=dict)
    verdicts: dict[HostPort, Verdict] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    enough_since: float | None = None
    confirm_until: float = 0.0

    def run(self) -> Findings:
        now = time.monotonic()
        server_until, lan_until = now + self.plan.server_deadline, now + self.plan.lan_wait
        self.confirm_until = now + discover.PERIOD_SECONDS if self.plan.confirm else now
        threads.start(self._ask)
        if not self._listen(max(lan_until, self.confirm_until)):
            self.confirm_until = lan_until = now
        self._test(self.plan.remembered)
        while True:
            now = time.monotonic()
            if not self.more and now < server_until and self._all_bad(now) and not self._enough():
                self._ask_more(server_until - now)
            until = self._until(now, server_until, lan_until)
            if until is None:
                return self._findings()
            try:
                event = self.events.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                continue
            self._take(event)

    def _until(self, now: float, server_until: float, lan_until: float) -> float | None:
        """The next moment at which waiting may end for want of events; None: it has ended."""
        asking = self.answer is None and now < server_until
        pending = max((self.due[place] for place in self.due.keys() - self.verdicts.keys()), default=now)
        if self._enough() and not asking:
            self.enough_since = now if self.enough_since is None else self.enough_since
            patience = PATIENCE if self.plan.remembered and not self._two_domains() else 1.0
            end = max(min(pending, self.enough_since + patience * self.plan.grace), self._present_until(now))
        else:
            asking = asking or None in self.more.values()
            end = max(pending, server_until if asking else now, lan_until)
        if self._to_confirm():
            end = max(end, self.confirm_until)
        return end if end > now else None

    def _all_bad(self, now: float) -> bool:
        """Whether the first answer is in, and nothing that it lists is good or may still turn out to be."""
        return self.answer is not None and not any(
            self.verdicts[place].good if place in self.verdicts else self.due[place] > now
            for place in {candidate.place for candidate in self._listed()}
        )

    def _take(self, event: _Event) -> None:
        if isinstance(event, Answer):
            self.answer = event
            self._test(self._listed())
        elif isinstance(event, _More):
            self.more[event.server] = event.answer
            self._test(self._listed())
        elif isinstance(event, Candidate):
            self.heard.append(replace(event, announced=self.plan.now))
            self._test([event])
        else:
            place, verdict = event
            self.verdicts[place] = verdict

    def _good(self) -> list[Candidate]:
        return [
            candidate
            for candidate in self._candidates()
            if candidate.eligible
            and candidate.within(self.plan.farthest)
            and (verdict := self.verdicts.get(candidate.place))
            and verdict.good
        ]

    def _enough(self) -> bool:
        return len({one.squid for one in self._good() if not one.reverse}) >= self.plan.wanted

    def _two_domains(self) -> bool:
        """Whether the good ones span two failure domains, or none that is still tested can add one."""
        good = {candidate.domain for candidate in self._good()}
        tested = {
            candidate.domain for candidate in self._candidates() if candidate.place not in self.verdicts
        }
        return self.plan.wanted < 2 or len(good) > 1 or not tested - good

    def _present_until(self, now: float) -> float:
        """A squid in use is only given up for a failure, not for being a little later than others."""
        present = {candidate.place for candidate in self.plan.remembered}
        usable = {c.place for c in self._candidates() if c.usable}
        pending = (present & usable & self.due.keys()) - self.verdicts.keys()
        return max((self.due[place] for place in pending), default=now)

    def _answers(self) -> list[Answer]:
        """Those that are in, in order of preference."""
        return [answer for answer in (self.answer, *self.more.values()) if answer]

    def _to_confirm(self) -> bool:
        """Whether to wait for an announcement: not if something in use is bad, which must not last, nor for
        what stays anyway, since no server lists another.
        """
        listed = self._listed()
        used = {candidate.place for candidate in self.plan.remembered} & self.verdicts.keys()
        if not listed or any(not self.verdicts[place].good for place in used):
            return False
        return bool(self.plan.confirm - {candidate.place for candidate in (*self.heard, *listed)})

    def _listed(self) -> tuple[Candidate, ...]:
        listings = [answer.listing for answer in self._answers() if answer.listing]
        return tuple(one for listing in listings for one in self._question().candidates(listing))

    def _candidates(self) -> tuple[Candidate, ...]:
        listed, used = self._listed(), self.plan.remembered
        if listed and self.answer and self.answer.listing:
            full = len({one.squid for one in listed}) >= self.plan.wanted + SPARE
            state, now = self.answer.listing.state, self.plan.now
            used = tuple(_as_told(one, state, full=full, now=now) for one in used)
        return merge(listed, self.heard, used, server_first=self.plan.server_first)

    def _findings(self) -> Findings:
        late = Verdict(Outcome.UNREACHABLE, "did not answer before the wait ended", self.plan.probe_deadline)
        if self.answer is None:
            self.troubles.append(f"no server answered within {self.plan.server_deadline:g} s")
        for answer in self._answers():
            self.troubles += answer.troubles
        silent = [server for server, answer in self.more.items() if not answer]
        self.troubles += [f"{server}: no answer before the wait ended" for server in silent]
        candidates = self._candidates()
        verdicts = {c.place: self.verdicts.get(c.place, late) for c in candidates}
        return Findings(candidates, verdicts, bool(self._listed()), tuple(self.troubles))

    def _question(self) -> Question:
        keep = tuple(candidate.place for candidate in self.plan.remembered if not candidate.heard)
        return Question(self.plan.service, self.plan.wanted + SPARE, keep)

    def _ask(self) -> None:
        self.events.put(directory.ask(self.plan.servers, self._question(), self.plan.server_deadline))

    def _ask_more(self, seconds: float) -> None:
        """Ask the other servers too, and all for IPv6, at once: a worker that has nothing is in a hurry."""
        self.more = dict.fromkeys(self.answer.further if self.answer else ())
        for server in self.more:
            threads.start(partial(self._ask_one, server, seconds))

    def _ask_one(self, server: str, seconds: float) -> None:
        question = replace(self._question(), ipv6=True)
        self.events.put(_More(server, directory.ask_one(server, question, seconds)))

    def _listen(self, until: float) -> bool:
        if self.plan.lan_wait <= 0:
            return False
        try:
            sock = discover.open_port(self.plan.lan_port)
        except Unavailable as error:
            self.troubles.append(str(error))
            return False
        threads.start(partial(discover.listen, sock, until, self.stop, self.plan.service, self.events.put))
        return True

    def _test(self, candidates: Sequence[Candidate]) -> None:
        for candidate in candidates:
            if candidate.place not in self.due:
                self.due[candidate.place] = time.monotonic() + self.plan.probe_deadline
                threads.start(partial(self._probe, candidate.place))

    def _probe(self, place: HostPort) -> None:
        self.events.put((place, probe_squid(place, self.plan.targets, self.plan.probe_deadline)))
