"""What a run is for, and what its end means."""

from dataclasses import dataclass
from enum import IntEnum

from shoal_common.heartbeat import Upstream


class ExitCode(IntEnum):
    """The exit codes of shoal-client."""

    DONE = 0
    """Changed, or nothing to do. With -f: what was printed can be used, though it may be unchanged."""
    KEPT = 1
    """Could not: no server answered, no squid was good, or something did not take the new proxies. What
    was configured before stays."""
    BAD_SETTINGS = 2
    """A flag, variable or file is wrong; nothing was tried."""
    STOPPED = 130
    """Ended by SIGINT or SIGTERM."""


@dataclass(frozen=True, slots=True)
class Actions:
    """The flags that are no settings; without any the run configures CVMFS."""

    dump: bool = False
    frontier: bool = False
    skip_broadcast: bool = False
    force_server: bool = False
    dry_run: bool = False

    @property
    def configures(self) -> bool:
        """Whether it changes CVMFS."""
        return not (self.dump or self.frontier or self.dry_run)

    @property
    def remembers(self) -> bool:
        """Whether its choice comes into force, so that it is worth remembering."""
        return not (self.dump or self.dry_run)

    @property
    def service(self) -> Upstream:
        """What the squids are wanted for."""
        return Upstream.FRONTIER if self.frontier else Upstream.CVMFS
