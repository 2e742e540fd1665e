"""What a run has to hand to one service's outputs."""

from dataclasses import dataclass

from shoal_client.cvmfs import EXTERNAL
from shoal_common.heartbeat import Upstream
from shoal_common.proxylist import ProxyList


@dataclass(frozen=True, slots=True)
class Result:
    """The squids that were chosen for a service, all tested good, and the administrator's own proxies.

    `external` are theirs for external data, if that is to be set. `kept`: there was nothing to choose from
    anew, what is configured should stay. `unknown`: why the administrator's are not known; what was written
    now would lose them. `near`: the chosen ones that are about as near as the first, None for all. `alone`:
    none was chosen since all are too far away, and the administrator's are to be used without.
    """

    service: Upstream
    chosen: ProxyList
    defaults: ProxyList
    external: ProxyList
    kept: bool
    unknown: str = ""
    near: ProxyList | None = None
    alone: bool = False

    @property
    def found(self) -> bool:
        """Whether it is known what to use."""
        return self.alone or bool(self.chosen.groups)

    @property
    def chain(self) -> ProxyList:
        """The chosen ones with the administrator's behind them."""
        return self.chosen.then(self.defaults)

    @property
    def equals(self) -> ProxyList:
        """The same for whoever takes all for equals: without those that are for when the near ones fail."""
        return (self.chosen if self.near is None else self.near).then(self.defaults)

    def own(self, parameter: str) -> ProxyList:
        """The administrator's that the files for all repositories give this parameter of CVMFS."""
        return self.external if parameter == EXTERNAL else self.defaults
