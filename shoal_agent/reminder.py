"""Remembers from one run of the agent to the next when it last called for help."""

import logging
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)


class Reminder:
    """A file of one number, seconds since 1970, in `directory`; None: nothing is remembered.

    A directory that cannot be used costs a line in the log and nothing else.
    """

    def __init__(self, directory: Path | None) -> None:
        self._file = directory / "called-for-help" if directory else None

    def read(self, now: float) -> float | None:
        """How many seconds before `now` it was; None if never, as far as is known.

        A time to come was written by a wrong clock, and does not count.
        """
        if self._file is None:
            return None
        with suppress(OSError, ValueError):
            age = now - float(self._file.read_text(encoding="ascii"))
            return age if age >= 0 else None
        return None

    def write(self, now: float) -> None:
        """It is done at `now`."""
        if self._file is None:
            return
        new = self._file.with_suffix(".new")
        try:
            new.write_text(f"{int(now)}\n", encoding="ascii")
            new.replace(self._file)
        except OSError as error:
            log.warning("calls for help are remembered until the agent's end only: %s", error)
