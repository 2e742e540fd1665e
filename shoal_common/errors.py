"""The errors that cross module borders. Below a door (HTTP, AMQP, a file) only these exist."""

from collections.abc import Sequence


class ShoalError(Exception):
    """Base of every error that Shoal raises on purpose; its text is fit for an operator's eyes."""


class InvalidHeartbeat(ShoalError):  # noqa: N818 - reads as what it says: an invalid heartbeat
    """A message that is no heartbeat of any generation.

    `field` names the JSON key at fault (`message` when it is the message as a whole).
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class InvalidListing(ShoalError):  # noqa: N818
    """A server's answer, or one cache in it, that must not be used."""


class InvalidProxyList(ShoalError):  # noqa: N818
    """A proxy chain that CVMFS or Frontier would misread."""


class SettingsError(ShoalError):
    """Every mistake found in flags, environment and files, told at once."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


class Unavailable(ShoalError):  # noqa: N818
    """Something outside (broker, store, server, origin) cannot be used now; a later try may succeed."""
