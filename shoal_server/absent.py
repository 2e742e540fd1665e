"""Good squids that went a moment ago: their places in a full list are kept.

Who invents squids could else take the place of one while it is restarted; what he invents is never good.
"""

from collections.abc import Callable

from shoal_server.squid import Reach, Squid

RETURN_SECONDS = 900.0
"""An agent or a VM that is restarted is back sooner."""


class Absent:
    """Ids of squids that went lately, each with its time by a steady clock (s). One thread changes it."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def __contains__(self, squid_id: object) -> bool:
        return squid_id in self._since

    def add(self, squid: Squid, steady: float) -> None:
        """Note one that has just gone, if it was good."""
        if squid.verification.reach in (Reach.GLOBAL, Reach.LOCAL):
            self._since[squid.id] = steady

    def forget(self, is_back: Callable[[str], bool], steady: float) -> None:
        """Forget those that are back, and those that went long ago."""
        if self._since:
            since = {key: at for key, at in self._since.items() if not is_back(key)}
            self._since = {key: at for key, at in since.items() if steady - at < RETURN_SECONDS}
