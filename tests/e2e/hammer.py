"""Workers that ask a server again and again, while a test does something to it."""

import http.client
import json
import threading
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from testbed.process import wait_until

PAUSE_SECONDS = 0.01


def ask(url: str, path: str, source: str = "127.0.0.1", **headers: str) -> tuple[int, Any]:
    """Status and JSON of one GET from the address `source`, on a connection of its own."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(
        place.hostname or "", place.port, timeout=20, source_address=(source, 0)
    )
    try:
        connection.request(
            "GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if answer.status == 200 else body
    finally:
        connection.close()


def names(listing: dict[str, Any] | None) -> list[str]:
    """The host names of a legacy answer, in its order."""
    return [entry["hostname"] for entry in (listing or {}).values()]


class Hammer:
    """Asks for `/nearest` in threads for as long as its block lasts; every answer must name these squids.

    `failures` are the answers that did not, and the errors; `count` is how many were given.
    """

    def __init__(self, url: str, squids: set[str], source: str = "127.0.0.1", workers: int = 3) -> None:
        self.failures: list[str] = []
        self.count = 0
        self._url, self._squids, self._source = url, squids, source
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work) for _ in range(workers)]

    def await_answers(self, more: int = 60) -> None:
        """Return when so many further answers were given."""
        wanted = self.count + more
        wait_until(lambda: self.count >= wanted, 30, f"{more} more answers")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            wrong = self._once()
            with self._lock:
                self.count += 1
                if wrong:
                    self.failures.append(wrong)

    def _once(self) -> str:
        try:
            status, said = ask(self._url, "/nearest", self._source)
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        if status != 200 or set(names(said)) != self._squids:
            return f"{status}: {said}"
        return ""
