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
NOTICE_SECONDS = 5.0
"""As often as the clouds advise to look for the notice that a VM is taken away."""

log = logging.getLogger(__name__)


class Outside:
    """Looks from a thread of its own; `found` may be read from any thread.

    Nobody is asked while the VM has a public IPv4 address of its own, or one is configured. What was
    found stays when nobody answers, until this VM's own addresses change.
    """

    def __init__(self, metadata: Metadata | None, stun: HostPort | None, *, configured: bool) -> None:
        self._metadata = metadata
        self._stun = stun
        self._configured = configured
        self._of: tuple[str | None, ...] | None = None
        self._due = 0.0
        self._notices: bool | None = None
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
        """Ask if that is due: at first, when the host's addresses changed, and every five minutes."""
        addresses = (host.public_ip, host.private_ip, host.ipv6)
        if addresses != self._of:
            self._of, self.found = addresses, None
            self._due = self._notice_due = 0.0
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + AGAIN_SECONDS
        if self._configured or host.public_ip:
            return
        found = self._ask()
        if found is None and self.troubles:
            return
        if found is not None and found.address in addresses:
            found = None
        if found is not None and found != self.found:
            log.info("the outside sees this host as %s (%s)", found.address, found.source)
        self.found = found

    def _ask(self) -> Found | None:
        troubles: list[str] = []
        found: Found | None = None
        if self._metadata is not None:
            try:
                found = self._metadata.public_address()
            except Unavailable as error:
                troubles.append(str(error))
        if found is None and self._stun is not None:
            try:
                found = Found(mapped_address(self._stun), f"STUN server {self._stun}")
            except Unavailable as error:
                troubles.append(str(error))
        self.troubles = tuple(troubles)
        return found

    def _notice(self) -> str | None:
        """The notice that this VM is taken away; most clouds and kinds of VM have none."""
        if self._metadata is None or self._notices is False or time.monotonic() < self._notice_due:
            return None
        try:
            if self._notices is None:
                self._notices = self._metadata.can_be_preempted()
            return self._metadata.preemption() if self._notices else None
        except Unavailable:
            self._notice_due = time.monotonic() + (NOTICE_SECONDS if self._notices else AGAIN_SECONDS)
            return None
