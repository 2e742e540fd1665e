"""Names and registered domains of addresses by reverse DNS, found in the background and never waited for.

A name that reverse DNS gives is believed only if it leads back to the address (RFC 1912, section
2.1): whoever owns a reverse zone can write any name into it. The registered domain is what the public
suffix list leaves of it: `vm7.cloud.uvic.ca` and `www.uvic.ca` are both `uvic.ca`.
"""

import ipaddress
import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

import dns.exception
import dns.name
import dns.resolver
import dns.reversename
from publicsuffixlist import PublicSuffixList

from shoal_common.errors import SettingsError
from shoal_common.hosts import HostPort, is_host_name

KNOWN_SECONDS = 24 * 3600.0
UNKNOWN_SECONDS = 3600.0
MOST_KNOWN = 50_000
MOST_WAITING = 1000
MOST_NAMES = 4
ANSWER_SECONDS = 5.0

log = logging.getLogger(__name__)

_Entry = tuple[float, str | None, str | None]
"""Until when it is good (monotonic seconds), the confirmed name, and its registered domain."""
_UNKNOWN: _Entry = (0.0, None, None)


class ReverseDomains:
    """Remembers the names of the addresses it is asked for, a bounded number of them.

    `name_servers` empty: the system's. What an address's name is shows at a later question, once the
    one resolving thread has come to it; when too many wait, an address is left out until asked again.
    """

    def __init__(self, name_servers: Sequence[HostPort] = ()) -> None:
        """Raises SettingsError for a name server that is not told by its address."""
        _check_addresses(name_servers)
        self._name_servers = name_servers
        self._known: OrderedDict[str, _Entry] = OrderedDict()
        self._waiting: queue.Queue[str] = queue.Queue(MOST_WAITING)
        self._lock = threading.Lock()

    def of(self, address: str) -> str | None:
        """The registered domain if it is known by now; an unknown one is looked up for the next time."""
        return self._entry(address)[2]

    def name(self, address: str) -> str | None:
        """The confirmed host name if it is known by now; an unknown one is looked up for the next time."""
        return self._entry(address)[1]

    def _entry(self, address: str) -> _Entry:
        now = time.monotonic()
        entry = self._known.get(address, _UNKNOWN)
        if now < entry[0]:
            return entry
        with self._lock:
            entry = self._known.get(address, _UNKNOWN)  # another thread may have been here
            if now >= entry[0] and not self._waiting.full():
                self._waiting.put_nowait(address)
                self._remember(address, (now + UNKNOWN_SECONDS, *entry[1:]))
        return entry

    def run(self, stop: threading.Event) -> None:
        """Resolve what is asked for until told to stop."""
        resolver = self._resolver()
        suffixes = PublicSuffixList()
        while not stop.is_set():
            try:
                address = self._waiting.get(timeout=0.5)
            except queue.Empty:
                continue
            name = _confirmed_name(resolver, address)
            domain = suffixes.privatesuffix(name) if name else None
            seconds = KNOWN_SECONDS if name else UNKNOWN_SECONDS
            with self._lock:
                self._remember(address, (time.monotonic() + seconds, name, domain))

    def _remember(self, address: str, entry: _Entry) -> None:
        self._known[address] = entry
        self._known.move_to_end(address)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def _resolver(self) -> dns.resolver.Resolver:
        resolver = dns.resolver.Resolver(configure=not self._name_servers)
        if self._name_servers:
            resolver.nameservers = [place.host for place in self._name_servers]
            resolver.nameserver_ports = {place.host: place.port for place in self._name_servers}
        resolver.lifetime = ANSWER_SECONDS
        return resolver


def _check_addresses(name_servers: Sequence[HostPort]) -> None:
    """Raises SettingsError with each that is a host name: whom to ask for names has to be known without."""
    named = [place for place in name_servers if not _is_address(place.host)]
    if named:
        raise SettingsError([f"[geo] name_servers: {place} is no IP address and port" for place in named])


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _confirmed_name(resolver: dns.resolver.Resolver, address: str) -> str | None:
    """The name of an address that leads back to it, of its first MOST_NAMES, within ANSWER_SECONDS in all.

    Anybody may own a reverse zone with hundreds of names, none of which is ever answered.
    """
    kind, end = "AAAA" if ":" in address else "A", time.monotonic() + ANSWER_SECONDS
    try:
        pointers = resolver.resolve(dns.reversename.from_address(address), "PTR")
        for pointer in islice(pointers, MOST_NAMES):
            name = str(pointer.target).rstrip(".").lower()
            left = end - time.monotonic()
            if is_host_name(name) and address in {
                str(a) for a in resolver.resolve(name, kind, lifetime=left)
            }:
                return name
    except dns.exception.DNSException as error:
        log.debug("no name for %s: %s", address, error)
    return None
