"""A file that may be replaced while the server runs; what it said when it was last good stays in use."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from shoal_common.errors import SettingsError
from shoal_common.stamp import stamp

log = logging.getLogger(__name__)

T = TypeVar("T")


class Followed(Generic[T]):
    """`value` is what `read` made of the file; `read` raises SettingsError for a file it cannot use."""

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        """Raises SettingsError when the file cannot be used now."""
        self.path = path
        self._read = read
        self._seen = stamp(path)
        self.value = read(path)

    def follow(self) -> bool:
        """Read the file again if it was replaced; whether there is a new value."""
        seen = stamp(self.path)
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
