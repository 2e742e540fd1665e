"""What a run is for, and what its end means."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from shoal_common.heartbeat import Upstream


class ExitCode(IntEnum):
    """The exit codes of shoal-client; 4 only with --exit-codes, otherwise that is 0 too."""

    UNCHANGED = 0
    """Everything is as it should be already. With -f: what was printed can be used."""
    FAILED = 1
    """Could not: no squid was good, or something did not take the new proxies. What was there stays."""
    BAD_SETTINGS = 2
    """A flag, variable or file is wrong; nothing was tried."""
    KEPT = 3
    """No server listed a good squid; the last choice is still good and stays."""
    CHANGED = 4
    """Something was written or set, and taken."""
    STOPPED = 130
    """Ended by SIGINT or SIGTERM."""

    def told(self, *, all_codes: bool) -> "ExitCode":
        """What the process ends with: cron and pilots want 0 for every run that did its work."""
        return ExitCode.UNCHANGED if self is ExitCode.CHANGED and not all_codes else self


_BY_WEIGHT = (ExitCode.UNCHANGED, ExitCode.CHANGED, ExitCode.KEPT, ExitCode.FAILED)


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The one that an operator must know of."""
    return max(codes, key=_BY_WEIGHT.index, default=ExitCode.UNCHANGED)


class Command(StrEnum):
    """What to do; `run` is what released clients do."""

    RUN = "run"
    DOCTOR = "doctor"
    CLASSAD = "classad"


@dataclass(frozen=True, slots=True)
class Actions:
    """The flags that are no settings; without any the run configures what the settings name."""

    dump: bool = False
    frontier: bool = False
    skip_broadcast: bool = False
    force_server: bool = False
    dry_run: bool = False
    explain: bool = False

    @property
    def configures(self) -> bool:
        """Whether it changes files and mounts."""
        return not (self.dump or self.frontier or self.dry_run)

    @property
    def remembers(self) -> bool:
        """Whether its choice comes into force, so that it is worth remembering."""
        return not (self.dump or self.dry_run)

    @property
    def service(self) -> Upstream:
        """What the squids are wanted for, as far as stdout is concerned."""
        return Upstream.FRONTIER if self.frontier else Upstream.CVMFS
