"""How the outside sees this VM: asked of the cloud, else of a STUN server, again and again."""

import logging
import threading
import time
from collections.abc import Callable

from shoal_agent.host import Host
from shoal_agent.metadata import Found, Metadata
from shoal_agent.stun import mapped_address
from shoal_common.errors import Unavailable
from shoal_common.hosts import HostPort

AGAIN_SECONDS = 300.0
"""A floating IP comes and goes without any sign of it on this VM."""
RETRY_SECONDS = 10.0
"""How soon somebody who could not tell is asked again; each time in a row it is twice as long."""
NOTICE_SECONDS = 5.0
"""As often as the clouds advise to look for the notice that a VM is taken away."""

log = logging.getLogger(__name__)


def pause_after(failures: int) -> float:
    """Seconds until the next question after so many in a row without an answer."""
    if not failures:
        return AGAIN_SECONDS
    return min(AGAIN_SECONDS, RETRY_SECONDS * 2.0 ** min(failures - 1, 16))


class Outside:
    """Looks from a thread of its own; `found` may be read from any thread.

    Nobody is asked while the VM has a public IPv4 address of its own, or one is configured. What somebody
    told stays while he cannot tell, until this VM's own IPv4 addresses change. The cloud knows best.
    """

    def __init__(self, metadata: Metadata | None, stun: HostPort | None, *, configured: bool) -> None:
        self._metadata = metadata
        self._stun = stun
        self._configured = configured
        self._of: tuple[str | None, ...] = ()
        self._by_cloud: Found | None = None
        self._by_stun: Found | None = None
        self._failures = 0
        self._due = 0.0
        self._notices: bool | None = None
        self._notice_failures = 0
        self._notice_due = 0.0
        self.found: Found | None = None
        self.troubles: tuple[str, ...] = ()

    def run(
        self,
        stop: threading.Event,
        look: Callable[[], Host],
        draining: threading.Event,
        pulse: Callable[[], None] = lambda: None,
    ) -> None:
        """Go on until `stop` is set; a notice that this VM is taken away sets `draining`."""
        while not stop.is_set():
            pulse()
            self.turn(look())
            if not draining.is_set() and (notice := self._notice()):
                log.warning("%s: the cache is for no new workers from now on", notice)
                draining.set()
            stop.wait(NOTICE_SECONDS)

    def turn(self, host: Host) -> None:
        """Ask if that is due: at first, when the host's addresses changed, and every five minutes; sooner
        when somebody could not tell.
        """
        before, addresses = self.found, (host.public_ip, host.private_ip, host.ipv6)
        if addresses != self._of:
            self._follow(addresses)
        if time.monotonic() < self._due:
            return
        if self._configured or host.public_ip:
            self._due = time.monotonic() + AGAIN_SECONDS
            return
        self._ask()
        self._failures = self._failures + 1 if self.troubles else 0
        self._due = time.monotonic() + pause_after(self._failures)
        found = self._by_cloud or self._by_stun
        self.found = found if found is None or found.address not in addresses else None
        self._tell(before)

    def _follow(self, addresses: tuple[str | None, ...]) -> None:
        """What was found belongs to an IPv4 address; one that is new is perhaps seen as another one."""
        if addresses[:2] != self._of[:2]:
            self.found = self._by_cloud = self._by_stun = None
        self._of = addresses
        self._due = self._notice_due = 0.0
        self._failures = self._notice_failures = 0

    def _ask(self) -> None:
        troubles: list[str] = []
        if self._metadata is not None:
            try:
                self._by_cloud = self._metadata.public_address()
            except Unavailable as error:
                troubles.append(str(error))
        if self._by_cloud is None and self._stun is not None:
            try:
                self._by_stun = Found(mapped_address(self._stun), f"STUN server {self._stun}")
            except Unavailable as error:
                troubles.append(str(error))
        self.troubles = tuple(troubles)

    def _tell(self, before: Found | None) -> None:
        """One line when the address is another one, and when it is lost."""
        if self.found is not None and self.found != before:
            log.info("the outside sees this host as %s (%s)", self.found.address, self.found.source)
        elif self.found is None and before is not None:
            why = "; ".join(self.troubles) or "nobody tells of such an address now"
            log.warning("the outside no longer sees this host as %s: %s", before.address, why)

    def _notice(self) -> str | None:
        """The notice that this VM is taken away; most clouds and kinds of VM have none."""
        if self._metadata is None or self._notices is False or time.monotonic() < self._notice_due:
            return None
        try:
            if self._notices is None:
                self._notices = self._metadata.can_be_preempted()
            return self._metadata.preemption() if self._notices else None
        except Unavailable:
            self._notice_failures += 1
            pause = NOTICE_SECONDS if self._notices else pause_after(self._notice_failures)
            self._notice_due = time.monotonic() + pause
            return None
