"""Carries messages to the reception, batch by batch, oldest first.

While one batch is being stored the next one gathers; nothing is acknowledged before `take` returned. When
it raises Unavailable, all that waits is given up: publishers that asked for confirms get Basic.Nack and
decide for themselves, the messages of the others are dropped. Nothing is kept for later: each squid sends
its next heartbeat soon, and an old one would make a squid that died meanwhile look alive.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, Protocol

from shoal_common.errors import Unavailable
from shoal_server.intake.complaints import Complaints
from shoal_server.intake.embedded.channel import Confirm, Delivery
from shoal_server.intake.embedded.terms import Limits

_UPKEEP_BYTES = 1024

log = logging.getLogger(__name__)


class Taker(Protocol):
    """Whoever the messages are for: the Reception."""

    def take(self, bodies: Sequence[bytes]) -> None:
        """Register a batch, or raise Unavailable: nothing was stored. Invalid messages are its own affair."""


class Publisher(Protocol):
    """Whoever a message came from."""

    def settle(self, confirms: Sequence[Confirm], *, stored: bool) -> None:
        """Be told what became of messages, in the order of publishing."""


class Letter(NamedTuple):
    """A message and its publisher."""

    publisher: Publisher
    delivery: Delivery

    @property
    def weight(self) -> int:
        """Bytes of memory, about."""
        return len(self.delivery.body) + _UPKEEP_BYTES


class Pump:
    """Lives in the loop's thread; `take` is called in another one, so that a slow store delays no peer."""

    def __init__(self, reception: Taker, limits: Limits, pressed: Callable[[], None]) -> None:
        self._reception = reception
        self._limits = limits
        self._pressed = pressed
        self._letters: deque[Letter] = deque()
        self._weight = 0
        self._arrived = asyncio.Event()
        self._refused = 0
        self._complaints = Complaints()
        self.full = False
        """From when too much waits until nothing does; `pressed` is called at each change."""

    @property
    def waiting(self) -> int:
        """How many messages are not stored yet."""
        return len(self._letters)

    def push(self, publisher: Publisher, deliveries: Iterable[Delivery]) -> None:
        """Take messages over, to be stored soon."""
        for delivery in deliveries:
            letter = Letter(publisher, delivery)
            self._letters.append(letter)
            self._weight += letter.weight
        self._arrived.set()
        if self._weight > self._limits.max_waiting_bytes:
            self._press(full=True)

    async def run(self) -> None:
        """Store for ever."""
        worker = ThreadPoolExecutor(1, thread_name_prefix="embedded-intake-store")
        try:
            while True:
                await self._arrived.wait()
                await self._store_batch(worker)
                if not self._letters:
                    self._arrived.clear()
                    self._press(full=False)
        finally:
            worker.shutdown(wait=False)

    async def _store_batch(self, worker: Executor) -> None:
        bodies = [letter.delivery.body for letter in islice(self._letters, self._limits.batch)]
        try:
            await asyncio.get_running_loop().run_in_executor(worker, self._reception.take, bodies)
        except Unavailable as error:
            self._refuse(error)
        except Exception:
            log.exception("a batch of %d messages broke the reception and is dropped", len(bodies))
            self._settle(len(bodies), stored=False)
        else:
            self._settle(len(bodies), stored=True)
            self._recover()

    def _refuse(self, error: Unavailable) -> None:
        if not self._refused:
            self._complaints.make("heartbeats are dropped: %s", error)
        self._refused += len(self._letters)
        self._settle(len(self._letters), stored=False)

    def _recover(self) -> None:
        if self._refused:
            self._complaints.make("heartbeats are stored again; %d were dropped", self._refused)
            self._refused = 0

    def _settle(self, count: int, *, stored: bool) -> None:
        confirms: dict[Publisher, list[Confirm]] = {}
        for letter in [self._letters.popleft() for _ in range(count)]:
            self._weight -= letter.weight
            if letter.delivery.confirm:
                confirms.setdefault(letter.publisher, []).append(letter.delivery.confirm)
        for publisher, theirs in confirms.items():
            publisher.settle(theirs, stored=stored)

    def _press(self, *, full: bool) -> None:
        if full is not self.full:
            self.full = full
            self._pressed()
