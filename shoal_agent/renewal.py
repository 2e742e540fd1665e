"""The broker as the settings file names it now: a password that was changed there needs no restart."""

import logging
from collections.abc import Callable
from pathlib import Path

from shoal_common.amqp import Broker
from shoal_common.errors import SettingsError
from shoal_common.stamp import stamp

log = logging.getLogger(__name__)


class Renewal:
    """Calling it returns the broker; `read` is called again when the file was replaced or written anew.

    A file that is gone or has mistakes changes nothing. To be used from one thread.
    """

    def __init__(self, broker: Broker, file: Path | None, read: Callable[[], Broker]) -> None:
        self._broker = broker
        self._file = file
        self._read = read
        self._seen = stamp(file) if file else None

    def __call__(self) -> Broker:
        """The broker to connect to now."""
        seen = stamp(self._file) if self._file else None
        if seen is not None and seen != self._seen:
            self._seen = seen
            self._renew()
        return self._broker

    def _renew(self) -> None:
        try:
            broker = self._read()
        except SettingsError as error:
            log.warning("%s was changed and cannot be used: %s", self._file, " ".join(str(error).split()))
            return
        if broker != self._broker:
            log.info("%s was changed: the broker is now the one that it names", self._file)
            self._broker = broker
