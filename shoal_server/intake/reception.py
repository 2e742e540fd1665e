"""What happens to the messages of every intake: decode, admit, register, count.

A bad message costs one log line and one counter, never its neighbours and never the consumer.
"""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, Protocol

from shoal_common.errors import InvalidHeartbeat, Unavailable
from shoal_common.heartbeat import Heartbeat
from shoal_server.balance import FindPeers, alone
from shoal_server.intake.complaints import Complaints
from shoal_server.intake.ordinary import read
from shoal_server.registry import Registry
from shoal_server.squid import is_hosts_own

LOG_LINES_A_MINUTE = 20
RARE_LINES_A_MINUTE = 1
"""About what goes on for years: an agent's useless address, or a list that is full."""
_ADDRESSES = ("public_ip", "external_ip", "private_ip", "ipv6")
_said: Callable[[Heartbeat], tuple[str | None, ...]] = attrgetter(*_ADDRESSES)
NO_ROOM = "most_squids"
"""The setting for which squids beyond it are refused."""


class Intake(Protocol):
    """A running way in."""

    def start(self) -> None:
        """Begin to take messages; Unavailable when that can never work."""

    def stop(self) -> None:
        """Stop taking messages; returns when none is in hand."""

    @property
    def connected(self) -> bool:
        """Whether heartbeats can reach us at the moment."""


class Reception:
    """Takes message bodies in batches.

    `failed_at` is when a batch could not be stored (seconds since 1970, by the store's clock), unless one has
    been since.

    `placed` tells whether the operator's location table holds an address: a loopback or link-local
    address would send every worker, and our own verifier, to a service of its own machine, so it is
    believed only where the operator has written it down (a test bed, a demonstration), and else left out:
    a squid that has a better one must not go with it. `peers` finds the squids that a squid is held against.
    `room` tells how many squids more may be taken: whoever may publish can invent as many as he likes, and
    those that are known go on whatever he does, and those that are `absent` for a moment find their places.
    """

    def __init__(
        self,
        registry: Registry,
        placed: Callable[[str], bool],
        peers: FindPeers = alone,
        room: Callable[[], int] = lambda: sys.maxsize,
        absent: Container[str] = (),
    ) -> None:
        self._registry = registry
        self._placed = placed
        self._peers = peers
        self._room = room
        self._absent = absent
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._complaints = Complaints(LOG_LINES_A_MINUTE)
        self._left_out = Complaints(RARE_LINES_A_MINUTE)
        self._full = Complaints(RARE_LINES_A_MINUTE)
        self.failed_at: float | None = None

    def stores(self, written: float) -> bool:
        """Whether a heartbeat would be stored now, as far as is known: the last batch was, or something else
        was `written` (seconds since 1970, by the store's clock) after it could not be."""
        failed_at = self.failed_at
        return failed_at is None or written > failed_at

    def take(self, bodies: Sequence[bytes]) -> None:
        """Register the valid messages of a batch, oldest first.

        Raises Unavailable when the store cannot take them: nothing was stored then, and nothing may
        be acknowledged.
        """
        beats: list[Heartbeat] = []
        refusals: list[InvalidHeartbeat] = []
        for body in bodies:
            try:
                beats.append(self._admitted(body))
            except InvalidHeartbeat as error:
                refusals.append(error)
        left_out = self._hear(beats) if beats else ()
        self._tally(len(beats) - len(left_out), refusals)
        if left_out:
            self._tell_full(left_out)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many messages came to what: `accepted`, or the field for which they were refused."""
        with self._lock:
            return dict(self._counts)

    def _admitted(self, body: bytes) -> Heartbeat:
        beat = read(body)
        useless = [
            field for field, address in zip(_ADDRESSES, _said(beat), strict=True) if self._is_useless(address)
        ]
        return self._without(beat, useless) if useless else beat

    def _without(self, beat: Heartbeat, useless: Sequence[str]) -> Heartbeat:
        nothing: dict[str, Any] = dict.fromkeys(useless)
        rest = replace(beat, **nothing)
        field = useless[0]
        problem = (
            f"{getattr(beat, field)} means another machine to each reader; the location table may allow it"
        )
        if not any(_said(rest)):
            raise InvalidHeartbeat(field, problem)
        self._left_out.make("heartbeat of %s goes without its %s: %s", beat.hostname, field, problem)
        return rest

    def _is_useless(self, address: str | None) -> bool:
        return address is not None and is_hosts_own(address) and not self._placed(address)

    def _hear(self, beats: Sequence[Heartbeat]) -> Sequence[str]:
        """Returns the ids of new squids for which there is no room."""
        now = self._registry.store.now()
        try:
            left_out = self._registry.hear(beats, now, self._peers, self._room(), self._absent)
        except Unavailable:
            self.failed_at = self._registry.store.now()
            raise
        self.failed_at = None
        return left_out

    def _tell_full(self, left_out: Sequence[str]) -> None:
        with self._lock:
            self._counts[NO_ROOM] += len(left_out)
        for squid_id in left_out:
            self._full.make("%s is not taken: there are as many squids as %s allows", squid_id, NO_ROOM)

    def _tally(self, accepted: int, refusals: Sequence[InvalidHeartbeat]) -> None:
        with self._lock:
            self._counts.update(accepted=accepted)
            self._counts.update(refusal.field for refusal in refusals)
        for refusal in refusals:
            self._complaints.make("heartbeat refused: %s", refusal)
