"""What the servers have been told of one cache, and what they are to be told of it now."""

from dataclasses import replace

from shoal_agent.beat import Terms, compose
from shoal_agent.host import Host
from shoal_agent.instance import Instance
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import AgentState, Heartbeat
from shoal_common.hosts import HostPort

UNREACHABLE_SECONDS = 5.0
"""How soon an address is looked for again at which others could reach the cache."""


class Voice:
    """Speaks for one cache; it is the agent that carries what it says to a broker."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.last: Heartbeat | None = None
        self.news = True
        """Whether the next heartbeat is worth a line in the log."""
        self._due = 0.0
        self._unreachable = ""

    @property
    def healthy(self) -> bool | None:
        """Whether the cache is good; None before it was tested."""
        return self.instance.seen.health.healthy

    def is_due(self, clock: float, state: AgentState) -> bool:
        """Whether a heartbeat is to be sent now: in its time, or because there is something new to say."""
        if not self.healthy:
            return False
        return clock >= self._due or (self.last is not None and self.last.state is not state)

    def heartbeat(self, terms: Terms, host: Host, load: float, now: float, state: AgentState) -> Heartbeat:
        """The heartbeat of `now` (seconds since 1970). Raises Unavailable while nobody reaches the cache."""
        return compose(
            self.instance.uuid,
            terms,
            host,
            self.instance.cache,
            load,
            now,
            metrics=self.instance.metrics,
            state=state,
        )

    def goodbye(self, now: float) -> Heartbeat | None:
        """What ends what the servers believe; None if they believe nothing."""
        return None if self.last is None else replace(self.last, state=AgentState.LEAVING, timestamp=now)

    def said(self, heartbeat: Heartbeat, due: float) -> bool:
        """It was confirmed, and the next one is for the monotonic time `due`; true if that is news."""
        last, self.last, self._due, self._unreachable = self.last, heartbeat, due, ""
        changed = last is None or (last.state, _endpoint(last)) != (heartbeat.state, _endpoint(heartbeat))
        news, self.news = self.news or changed, False
        return news

    def left(self) -> None:
        """The goodbye was confirmed."""
        self.last, self._due = None, 0.0

    def cannot(self, error: Unavailable, clock: float) -> bool:
        """No other machine could reach the cache, so nothing is said of it for now; true if that is news."""
        self._due = clock + UNREACHABLE_SECONDS
        news, self._unreachable = str(error) != self._unreachable, str(error)
        return news

    @property
    def claim(self) -> str:
        """What the servers believe now, in one line."""
        if self.last is None:
            seen = self.instance.seen
            why = self._unreachable if self.healthy else seen.health.reason
            return f"{seen.cache.place} is not announced{': ' if why else ''}{why}"
        if self._unreachable:
            return f"{_endpoint(self.last)} was here; it is not announced for now: {self._unreachable}"
        what = "is here" if self.last.state is AgentState.UP else "is for no new workers"
        return f"{_endpoint(self.last)} {what}"


def _endpoint(heartbeat: Heartbeat) -> HostPort:
    addresses = (heartbeat.external_ip, heartbeat.public_ip, heartbeat.private_ip, heartbeat.ipv6)
    return HostPort(next(filter(None, addresses), heartbeat.hostname), heartbeat.port)
