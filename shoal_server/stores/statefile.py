"""Keeps what the memory store knows in a file, so that a restarted server does not begin empty."""

import json
import logging
import math
import os
import threading
from pathlib import Path

from shoal_common.errors import SettingsError
from shoal_server.registry import put_whole
from shoal_server.squid import Squid
from shoal_server.stores.memory import MemoryStore
from shoal_server.stores.records import beat_record, check_record, record_from

SAVE_SECONDS = 10.0

log = logging.getLogger(__name__)


class StateFile:
    """One file: a JSON object for each squid, a line each. It is always a whole one, old or new."""

    def __init__(self, store: MemoryStore, path: Path) -> None:
        self._store = store
        self._path = path
        self._saved = store.version()
        self._trouble = ""
        """Why the last save failed, if it did: told once."""
        self._saving = threading.Lock()
        """The last save, at the end, may come while one is under way."""

    def load(self) -> None:
        """Put the squids of the file into the store; a line that cannot be read costs that squid alone.

        Raises SettingsError when the file exists and cannot be read, or its directory cannot be written.
        """
        try:
            text = self._path.read_text("utf-8", "replace") if self._path.exists() else ""
            if not os.access(self._path.parent, os.W_OK):
                raise PermissionError(13, "its directory cannot be written")
        except OSError as error:
            raise SettingsError([f"[store] url: {self._path}: {error}"]) from None
        squids = [squid for line in text.splitlines() if (squid := self._squid(line))]
        if squids:
            put_whole(self._store, squids)
            log.info("%d squids are known from %s", len(squids), self._path)

    def run(self, stop: threading.Event) -> None:
        """Save now and then until told to stop."""
        while not stop.wait(SAVE_SECONDS):
            self.save()

    def save(self) -> None:
        """Write the file anew if anything changed. A full disk costs the news, never the old file."""
        with self._saving:
            self._save()

    def _save(self) -> None:
        version = self._store.version()
        if version == self._saved:
            return
        lines = "".join(self._line(squid) + "\n" for squid in self._store.squids())
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            with fresh.open("w", encoding="utf-8") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            if self._trouble != str(error):
                log.warning("cannot save the squids to %s, trying on: %s", self._path, error)
            self._trouble = str(error)
            return
        if self._trouble:
            log.warning("the squids are saved to %s again", self._path)
        self._saved, self._trouble = version, ""

    def _squid(self, line: str) -> Squid | None:
        try:
            fields = json.loads(line)
            seen, drained = _time(fields["seen"]), bool(fields["drained"])
            return record_from(fields["beat"], seen, fields["check"], drained=drained).squid
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            log.warning("%s: a line is left out: %s", self._path, error)
            return None

    @staticmethod
    def _line(squid: Squid) -> str:
        check = check_record(squid.verification)
        record = {
            "beat": beat_record(squid).decode(),
            "seen": squid.seen,
            "check": check,
            "drained": squid.drained,
        }
        return json.dumps(record)


def _time(seconds: float) -> float:
    """Raises ValueError for what is no moment."""
    if not math.isfinite(seconds):
        raise ValueError(f"{seconds} is no time")
    return float(seconds)
