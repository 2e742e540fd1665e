"""The certificates that the listener works with, through their renewal."""

import ssl
from collections.abc import Callable

from shoal_common.errors import SettingsError
from shoal_server.intake.complaints import Complaints


class Certificates:
    """Asks `make` for each connection; goes on with the last good ones while the new ones cannot be used."""

    def __init__(self, make: Callable[[], ssl.SSLContext], complaints: Complaints) -> None:
        """Raises SettingsError when there are none to begin with."""
        self._make = make
        self._complaints = complaints
        self._context = make()
        self._told = ""

    def context(self) -> ssl.SSLContext:
        """For the next connection."""
        try:
            self._context, self._told = self._make(), ""
        except SettingsError as error:
            self._tell(str(error))
        return self._context

    def _tell(self, problem: str) -> None:
        if problem != self._told:
            self._told = problem
            self._complaints.make("going on with the former certificates: %s", problem)
