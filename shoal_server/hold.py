"""Are they gone, or are we deaf? Pure rules for when silence may be believed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hearing:
    """Since when heartbeats could reach us without a break (seconds since 1970); None: they cannot now."""

    since: float | None = None

    def after(self, connected: bool, now: float) -> "Hearing":
        """The state once the intake link was seen up or down at `now`."""
        if not connected:
            return Hearing(None)
        return self if self.since is not None else Hearing(now)

    def believes_silence(self, now: float, dead_after: float) -> bool:
        """Silence means something only when we have listened for as long as it takes to call a squid dead."""
        return self.since is not None and now - self.since >= dead_after
