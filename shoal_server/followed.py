"""A file that may be replaced while the server runs; what it said when it was last good stays in use."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from shoal_common.errors import SettingsError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Followed(Generic[T]):
    """`value` is what `read` made of the file; `read` raises SettingsError for a file it cannot use."""

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        """Raises SettingsError when the file cannot be used now."""
        self.path = path
        self._read = read
        self._seen = _signature(path)
        self.value = read(path)

    def follow(self) -> bool:
        """Read the file again if it was replaced; whether there is a new value."""
        seen = _signature(self.path)
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self.value = self._read(self.path)
        except SettingsError as error:
            for mistake in error.mistakes:
                log.warning("%s; what was read before stays in use", mistake)
            return False
        log.info("%s was read again", self.path)
        return True


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
