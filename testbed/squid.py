"""A private squid, with names and addresses of its own choosing."""

import os
import pwd
import secrets
import shutil
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from testbed.ports import accepts, free_port
from testbed.process import Service

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where squid puts its segments
_UNPRIVILEGED = ("proxy", "squid", "nobody")


class Squid(Service):
    """Squid on one or more loopback addresses, caching in memory.

    `hosts` maps the names of origins to addresses: squid asks no name server. `clients` are the
    networks it serves; others get 403 (ERR_ACCESS_DENIED). With `origins` it passes requests for these
    host names only (a leading dot takes in subdomains), as sites that restrict destinations do.
    `extra` are further lines of squid.conf, in front of the access rules. The cache manager answers
    any loopback address.

    Squid refuses to run as root: started by root it runs as the user proxy, and its directory has to
    be reachable by that user (`PermissionError` otherwise).
    """

    program = "squid"
    package = "squid"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        listen: Sequence[str] = ("127.0.0.1",),
        hosts: Mapping[str, str] | None = None,
        clients: Sequence[str] = ("127.0.0.0/8",),
        origins: Sequence[str] | None = None,
        extra: Sequence[str] = (),
    ) -> None:
        super().__init__(directory)
        self.listen = tuple(listen)
        self.address = self.listen[0]
        self.port = port or free_port(*self.listen)
        # Equal host names would make two squids take each other for a forwarding loop; equal
        # service names would make them share memory.
        self.name = f"shoal{secrets.token_hex(4)}"
        self.visible_hostname = f"{self.name}.squid.test"
        self.access_log = directory / "access.log"
        self._hosts = dict(hosts or {})
        self._clients = tuple(clients)
        self._origins = origins
        self._extra = tuple(extra)

    @property
    def url(self) -> str:
        """The proxy's URL at its first address."""
        return f"http://{self.address}:{self.port}"

    def prepare(self) -> None:
        (self.directory / "hosts").write_text("".join(f"{ip} {name}\n" for name, ip in self._hosts.items()))
        (self.directory / "squid.conf").write_text("\n".join(self._configuration()) + "\n")
        if os.geteuid() == 0:
            _hand_over(self.directory)

    def command(self) -> list[str]:
        squid = [self.executable(), "-N", "-n", self.name, "-f", str(self.directory / "squid.conf")]
        if os.geteuid() != 0:
            return squid
        # Not left to squid itself: a change of user clears the death signal that was set before.
        user = _unprivileged()
        drop = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        return [*drop, "--pdeathsig", "keep", "--", *squid]

    def is_ready(self) -> bool:
        return all(accepts(address, self.port) for address in self.listen)

    def stop(self) -> None:
        # SIGTERM takes 2 s whatever shutdown_lifetime says, and a cache in memory has nothing to save.
        self.kill()

    def tidy(self) -> None:
        for segment in _SHARED_MEMORY.glob(f"{self.name}-*"):
            segment.unlink(missing_ok=True)
        (self.directory / "squid.pid").unlink(missing_ok=True)

    def _configuration(self) -> list[str]:
        at = self.directory
        return [
            *(f"http_port {address}:{self.port}" for address in self.listen),
            f"visible_hostname {self.visible_hostname}",
            f"hosts_file {at}/hosts",
            f"pid_filename {at}/squid.pid",
            f"access_log stdio:{at}/access.log",
            f"cache_log {at}/cache.log",
            f"coredump_dir {at}",
            "cache_store_log none",
            "netdb_filename none",
            "pinger_enable off",
            "shutdown_lifetime 0 seconds",
            "icp_port 0",
            "htcp_port 0",
            "snmp_port 0",
            "udp_incoming_address 127.0.0.1",
            "udp_outgoing_address 127.0.0.1",
            "dns_nameservers 127.0.0.1",
            "dns_timeout 2 seconds",
            "connect_timeout 5 seconds",
            "memory_pools off",
            "max_filedescriptors 1024",
            "cache_mem 16 MB",
            *self._extra,
            *self._access_rules(),
        ]

    def _access_rules(self) -> list[str]:
        rules = [
            "acl loopback src 127.0.0.0/8 ::1",
            "http_access allow manager loopback",
            "http_access deny manager",
        ]
        if self._origins is not None:
            rules += [f"acl origins dstdomain {' '.join(self._origins)}", "http_access deny !origins"]
        if self._clients:
            rules += [f"acl clients src {' '.join(self._clients)}", "http_access allow clients"]
        return [*rules, "http_access deny all"]


def _unprivileged() -> pwd.struct_passwd:
    for name in _UNPRIVILEGED:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise PermissionError(f"squid does not run as root, and there is no user {' or '.join(_UNPRIVILEGED)}")


def _hand_over(directory: Path) -> None:
    for parent in directory.resolve().parents:
        if not parent.stat().st_mode & stat.S_IXOTH:
            raise PermissionError(f"squid runs as {_unprivileged().pw_name}, who cannot enter {parent}")
    user = _unprivileged()
    for path in (directory, *directory.iterdir()):
        shutil.chown(path, user.pw_uid, user.pw_gid)
