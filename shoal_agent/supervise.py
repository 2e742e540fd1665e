"""Threads that do the work, while the main thread waits, informs the service manager, and ends in time."""

import threading
import time
from collections.abc import Callable, Sequence

from shoal_agent.systemd import ServiceManager

GOODBYE_SECONDS = 1.5
"""A broker that does not answer must not hold up the end of the process."""
TURN_SECONDS = 1.0
_STEP_SECONDS = 0.25

Pulse = Callable[[], None]


class Threads:
    """Runs the work in threads while the main thread only waits for `stop`.

    So a signal is acted upon whatever a broker or a name server does, and the end of any thread, a
    crash too, is the end of the process: whoever started it can start it anew.
    """

    def __init__(self, stop: threading.Event, manager: ServiceManager) -> None:
        self.stop = stop
        self.manager = manager
        self._crashed = False
        self._pulses: dict[str, float] = {}

    def start(self, name: str, task: Callable[[Pulse], None], *, may_end: bool = False) -> threading.Thread:
        """Run `task`, which calls its argument now and then; when it ends, `stop` is set.

        One that `may_end` in order leaves the others at work.
        """

        def pulse() -> None:
            self._pulses[name] = time.monotonic()

        def work() -> None:
            try:
                task(pulse)
            except BaseException:
                self.fail()
                raise
            self._pulses.pop(name, None)
            if not may_end:
                self.stop.set()

        pulse()
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread

    def fail(self) -> None:
        """End, as a failure."""
        self._crashed = True
        self.stop.set()

    def oversee(self, thread: threading.Thread, turns: Sequence[Callable[[], None]] = ()) -> int:
        """Take the `turns` each second until `stop`, then wait a moment for the end of `thread`.

        Returns the exit code. The main thread never waits for `stop` itself: the handler of a signal that
        sets it runs in this thread, and would wait for a lock that this thread holds.
        """
        self.manager.ready()
        due = 0.0
        while not self.stop.is_set():
            if time.monotonic() >= due:
                due = time.monotonic() + TURN_SECONDS
                self._turn(turns)
            thread.join(_STEP_SECONDS)
        self.manager.stopping()
        thread.join(GOODBYE_SECONDS)
        return 1 if self._crashed else 0

    def _turn(self, turns: Sequence[Callable[[], None]]) -> None:
        for turn in turns:
            turn()
        if self.all_alive(time.monotonic()):
            self.manager.alive()

    def all_alive(self, now: float) -> bool:
        """Whether every thread has given a sign within the time that the service manager allows."""
        limit = self.manager.watchdog_seconds
        return limit is None or all(now - pulse < limit for pulse in list(self._pulses.values()))
