"""TCP doors on loopback that lead to a real service, and that a test can shut one by one."""

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
Place = tuple[str, int]

_CHUNK = 65536
_WITHIN = 30.0


class Relay:
    """Passes bytes between each of its doors and one service; a door that is shut refuses everybody."""

    def __init__(self, service: Place) -> None:
        self._service = service
        self._doors: dict[Place, socket.socket] = {}
        self._visits: dict[Place, set[asyncio.Task[None]]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)

    def open(self, places: Iterable[Place]) -> None:
        """Listen at these places; those that are open stay so."""
        self._do(self._open(list(places)))

    def lead_to(self, service: Place) -> None:
        """Pass on to another service whoever comes from now on; those who are there stay where they are."""
        self._service = service

    def shut(self, places: Iterable[Place]) -> None:
        """Refuse connections there from now on, and cut those that are open."""
        self._do(self._shut(list(places)))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shut(list(self._doors))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WITHIN)

    async def _open(self, places: list[Place]) -> None:
        for place in places:
            if place not in self._doors:
                self._visits[place] = set()
                door = self._doors[place] = socket.create_server(place, backlog=128)
                door.setblocking(False)
                self._loop.add_reader(door, self._come, place)

    async def _shut(self, places: list[Place]) -> None:
        for place in places:
            if door := self._doors.pop(place, None):
                self._loop.remove_reader(door)
                door.close()
                visits = self._visits.pop(place)
                for visit in visits:
                    visit.cancel()
                await asyncio.gather(*visits, return_exceptions=True)
        await asyncio.sleep(0)  # what was cut is closed in the loop's next turn

    def _come(self, place: Place) -> None:
        """Not by asyncio's own server: who comes while that is closed is neither served nor cut off."""
        try:
            guest, _ = self._doors[place].accept()
        except OSError:
            return  # he has gone again
        guest.setblocking(False)
        visit = self._loop.create_task(self._visit(guest))
        self._visits[place].add(visit)
        visit.add_done_callback(self._visits[place].discard)
        # Not in the visit itself: one that is cancelled before it begins does nothing at all.
        visit.add_done_callback(lambda _: guest.close())

    async def _visit(self, guest: socket.socket) -> None:
        ends: list[asyncio.StreamWriter] = []
        try:
            with suppress(OSError):
                asks, outer = await asyncio.open_connection(sock=guest)
                ends.append(outer)
                answers, inner = await asyncio.open_connection(*self._service)
                ends.append(inner)
                await asyncio.gather(_pass(asks, inner), _pass(answers, outer))
        finally:
            for end in ends:
                end.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
