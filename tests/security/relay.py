"""TCP doors in front of a service: each counts who came, and can hang up on all of them."""

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK = 65536


class Relay:
    """A port that leads to `target`, both on 127.0.0.1."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.taken = 0
        """Connections so far."""
        self.writers: set[asyncio.StreamWriter] = set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.taken += 1
        try:
            there, to_there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        self.writers |= {writer, to_there}
        await asyncio.gather(_pour(reader, to_there), _pour(there, writer))
        self.writers -= {writer, to_there}


class Relays:
    """A thread that serves relays for as long as the block lasts."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relays", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._relays: list[Relay] = []

    def to(self, target: int) -> Relay:
        """A new door to the port `target`."""
        relay = Relay(target)

        async def listen() -> asyncio.Server:
            return await asyncio.start_server(relay.carry, "127.0.0.1", 0)

        server = asyncio.run_coroutine_threadsafe(listen(), self._loop).result(10)
        relay.port = server.sockets[0].getsockname()[1]
        self._servers.append(server)
        self._relays.append(relay)
        return relay

    def hang_up(self, relay: Relay) -> None:
        """Cut all connections through a door; it stays open for new ones."""

        async def cut() -> None:
            for writer in relay.writers:
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(cut(), self._loop).result(10)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for relay in self._relays:
            for writer in relay.writers:
                writer.transport.abort()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
    with suppress(OSError, RuntimeError):
        sink.close()
