"""Checks squids by fetching real objects through them.

A squid is asked for an object from each origin in turn until one answer settles it. When the squid
fails to deliver, the same object is fetched straight from the origin: if that fails too, the origin
(or our own way out) is at fault and the squid's state does not change. One failure never unlists a
squid that was good; a squid that failed is tried again, ever more rarely, and comes back by itself.
"""

import itertools
import logging
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from shoal_common.errors import Unavailable
from shoal_common.heartbeat import Upstream
from shoal_common.hosts import HostPort
from shoal_common.probe import Outcome, Target, Verdict, probe
from shoal_server.hold import awaits_check
from shoal_server.registry import Registry
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import Reach, Squid, Times, Verification

POLL_SECONDS = 0.2
MOST_DOUBLINGS = 10
UNJUDGED = "unjudged"
NO_SERVLET = "no Frontier servlet is configured to check it by"
WORKS_SECONDS = 1.0
"""How long an answer of an origin itself is believed; for longer, squids would be blamed for its outage."""
OUTAGE_SECONDS = 10.0
"""How long an origin that did not answer is taken to be down."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Origins:
    """What is fetched through squids, by service."""

    cvmfs: tuple[Target, ...]
    frontier: tuple[Target, ...]

    def of(self, upstream: Upstream) -> Mapping[Upstream, tuple[Target, ...]]:
        """The objects that a cache for `upstream` should be able to deliver, by service.

        One for both is tried by CVMFS, and by Frontier as well where servlets are configured.
        """
        if upstream is Upstream.FRONTIER:
            return {Upstream.FRONTIER: self.frontier}
        if upstream is Upstream.BOTH and self.frontier:
            return {Upstream.CVMFS: self.cvmfs, Upstream.FRONTIER: self.frontier}
        return {Upstream.CVMFS: self.cvmfs}


@dataclass(frozen=True, slots=True)
class CheckRules:
    """Seconds between checks and after a first failure; failures that unlist; seconds a fetch may take."""

    interval: float = 300.0
    retry: float = 10.0
    failures: int = 3
    timeout: float = 5.0


def conclude(
    before: Verification, verdict: Verdict | None, rules: CheckRules, *, private_only: bool, now: float
) -> Verification:
    """The squid's state after a check that ended with `verdict` (None: no origin could be judged by; then
    nothing that was found out before is forgotten).

    A check against it counts as a failure; after `rules.failures` in a row a squid that was good is
    no longer offered, and one that never was good is not offered from the first. A private-only
    squid that we cannot reach may well serve its own site.
    """
    if verdict is None:
        unknown = before.reach is Reach.UNVERIFIED
        reason = "no origin could be reached to check it by" if unknown else before.reason
        return replace(before, reason=reason, checked=now, due=now + rules.retry)
    if verdict.outcome is Outcome.GOOD:
        return Verification(Reach.GLOBAL, verdict.reason, now, now + rules.interval)
    if verdict.outcome is Outcome.DENIED:
        return Verification(Reach.LOCAL, verdict.reason, now, now + rules.interval)
    failures = before.failures + 1
    due = now + min(rules.interval, rules.retry * 2 ** min(failures - 1, MOST_DOUBLINGS))
    if private_only and verdict.outcome is Outcome.UNREACHABLE and before.reach is not Reach.GLOBAL:
        return Verification(Reach.LOCAL, verdict.reason, now, due, failures)
    was_good = before.reach in (Reach.GLOBAL, Reach.LOCAL)
    reach = before.reach if was_good and failures < rules.failures else Reach.FAILED
    return Verification(reach, verdict.reason, now, due, failures)


class Lane(Enum):
    """What squids wait in for their check, each with workers of its own: whoever does not answer keeps one of
    them for as long as a fetch may take, and a thousand who do must not keep the others waiting for minutes.
    """

    NEW = auto()
    GOOD = auto()
    FAILED = auto()

    @classmethod
    def of(cls, before: Verification, rules: CheckRules) -> "Lane":
        """By what was found before."""
        if before.checked is None:
            return cls.NEW
        failed = before.reach is Reach.FAILED or before.failures >= rules.failures
        return cls.FAILED if failed else cls.GOOD


class Verifier:
    """Finds the squids whose check is due and checks them, at most `workers` of each lane at once."""

    def __init__(
        self,
        keeper: SnapshotKeeper,
        registry: Registry,
        origins: Origins,
        rules: CheckRules,
        *,
        workers: int = 16,
        probe: Callable[..., Verdict] = probe,
    ) -> None:
        self._keeper = keeper
        self._registry = registry
        self._origins = origins
        self._rules = rules
        self._probe = probe
        self._workers = workers
        self._threads: list[threading.Thread] = []
        self._due: Mapping[Lane, queue.PriorityQueue[_Waiting]] = {
            lane: queue.PriorityQueue() for lane in Lane
        }
        self._arrivals = itertools.count()
        self._in_hand: set[str] = set()
        self._controls: dict[str, tuple[float, bool]] = {}
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    @property
    def counts(self) -> Mapping[str, int]:
        """How many checks came to which verdict; `unjudged`: no origin could be reached to judge by."""
        with self._lock:
            return dict(self._counts)

    def run(self, stop: threading.Event) -> None:
        """Check until told to stop; checks in hand are dropped then, since nothing is half done by them."""
        self._start_workers()
        while not stop.wait(POLL_SECONDS):
            self.queue_due(self._registry.store.now())

    def _start_workers(self) -> None:
        if self._threads:
            return
        for lane, number in itertools.product(Lane, range(self._workers)):
            name = f"verifier-{lane.name.lower()}-{number}"
            self._threads.append(threading.Thread(target=self._work, args=[lane], name=name, daemon=True))
        for thread in self._threads:
            thread.start()

    def queue_due(self, now: float) -> None:
        """Hand every squid whose check is due to the workers."""
        for squid in self._keeper.current.listed.where(lambda times: self._is_due(times, now)):
            with self._lock:
                if squid.id in self._in_hand:
                    continue
                self._in_hand.add(squid.id)
            lane = Lane.of(squid.verification, self._rules)
            self._due[lane].put(_waiting(squid, lane, next(self._arrivals)))

    def _work(self, lane: Lane) -> None:
        while True:
            squid = self._due[lane].get()[-1]
            try:
                self._check_claimed(squid)
            except Unavailable as error:
                log.info("check of %s put off: %s", squid.id, error)
            except Exception:  # a defect met by one squid must not end the checks of all others
                log.exception("check of %s went wrong", squid.id)
            finally:
                with self._lock:
                    self._in_hand.discard(squid.id)

    def check(self, squid: Squid) -> None:
        """Check one squid now and record the outcome."""
        before, wanted = squid.verification, self._origins.of(squid.beat.upstream)
        verdicts = {service: self._verdict(squid, targets) for service, targets in wanted.items()}
        now, best = self._registry.store.now(), _best(verdicts.values())
        with self._lock:
            self._counts[best.outcome.value if best else UNJUDGED] += 1
        if any(wanted.values()):
            after = conclude(before, best, self._rules, private_only=squid.private_only, now=now)
        else:
            after = replace(before, reason=NO_SERVLET, checked=now, due=now + self._rules.interval)
        self._registry.record(squid, _jittered(_qualified(before, after, verdicts), now), now)

    def _check_claimed(self, squid: Squid) -> None:
        """Check it unless another server does, or has just done so.

        The claim outlasts the longest check, in case we die in it.
        """
        store, name = self._registry.store, _claim(squid)
        fetches = sum(2 * len(targets) for targets in self._origins.of(squid.beat.upstream).values())
        if not store.claim(name, self._rules.timeout * (fetches + 1)):
            return
        try:
            fresh = store.get([squid.id]).get(squid.id)
            if fresh and fresh.verification.checked is None:  # unknown to a store that lost what it knew
                fresh = fresh.with_verification(squid.verification)
            if fresh and self._is_due(fresh.times, store.now()):
                self.check(fresh)
        finally:
            store.release(name)

    def _is_due(self, times: Times, now: float) -> bool:
        """A check that lies in the future was made before the clock was set back."""
        return times.due <= now or times.checked > now or awaits_check(times, now, self._registry.rules)

    def _verdict(self, squid: Squid, targets: Sequence[Target]) -> Verdict | None:
        """What the answers say of the squid itself; one object delivered is enough.

        A site may let its squid go to some origins alone, so a refusal is final only when all refuse.
        """
        proxy = HostPort(squid.address, squid.beat.port)
        against: Verdict | None = None
        for target in random.sample(targets, len(targets)):
            verdict = self._probe(proxy, target, timeout=self._rules.timeout, fresh=True)
            if verdict.good:
                return verdict
            if self._origin_works(target):
                against = verdict
                if verdict.outcome not in (Outcome.DENIED, Outcome.UPSTREAM):
                    break
        return against

    def _origin_works(self, target: Target) -> bool:
        known = self._controls.get(target.url)
        if known and known[0] > time.monotonic():
            return known[1]
        works = self._probe(None, target, timeout=self._rules.timeout).good
        believed = WORKS_SECONDS if works else OUTAGE_SECONDS
        self._controls[target.url] = (time.monotonic() + believed, works)
        return works


_Waiting = tuple[int, int, Squid]


def _waiting(squid: Squid, lane: Lane, arrival: int) -> _Waiting:
    """A squid in its lane, where the lowest numbers come first.

    Who joins after a thousand that do not answer is not to wait for them; of those that failed, the ones that
    did so less often are more likely to come back. Arrivals differ, so that squids are never compared.
    """
    if lane is Lane.NEW:
        return -arrival, arrival, squid
    return (squid.verification.failures if lane is Lane.FAILED else 0), arrival, squid


def _best(verdicts: Iterable[Verdict | None]) -> Verdict | None:
    """A cache is good if it delivers any service; otherwise any verdict is better than none."""
    known = [verdict for verdict in verdicts if verdict]
    return next((verdict for verdict in known if verdict.good), known[0] if known else None)


def _qualified(
    before: Verification, after: Verification, verdicts: Mapping[Upstream, Verdict | None]
) -> Verification:
    """With the services that it did not deliver while it delivered another: now, or before and not since."""
    delivered = any(verdict and verdict.good for verdict in verdicts.values())
    lacks = {
        service.value: verdict.reason
        if verdict
        else "it did not before, and its origin cannot be reached now"
        for service, verdict in verdicts.items()
        if not (verdict and verdict.good) and (service.value in before.lacks or (verdict and delivered))
    }
    told = [f"not {service}: {reason}" for service, reason in lacks.items()] if delivered else []
    return replace(after, lacks=tuple(lacks), reason="; ".join([after.reason, *told]))


def _claim(squid: Squid) -> str:
    """A squid that left and came back is not held up by the check of its former life."""
    return f"verify:{squid.id}:{squid.created}"


def _jittered(verification: Verification, now: float) -> Verification:
    """Up to a tenth earlier, so that squids that joined together are not checked together for ever."""
    wait = (verification.due - now) * random.uniform(0.9, 1.0)  # noqa: S311 - spreads checks, guards nothing
    return replace(verification, due=now + wait)
