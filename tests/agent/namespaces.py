"""Network namespaces joined by veth pairs: several machines in one, for those who may make them."""

import ctypes
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000  # setns(2)


def why_not() -> str | None:
    """Why there can be no namespaces here; None if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "needs ip, which is not installed; get it with: apt-get install -y iproute2"
    probe = Namespace.named("shoal-probe")
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"no network namespaces here: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return None


class Namespace:
    """One machine; gone at `close`."""

    def __init__(self) -> None:
        self.name = self.named("shoal")
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.ip("link", "set", "lo", "up")

    @staticmethod
    def named(prefix: str) -> str:
        return f"{prefix}-{secrets.token_hex(4)}"

    def ip(self, *arguments: str) -> None:
        """Run ip(8) in it."""
        subprocess.run(["ip", "-n", self.name, *arguments], check=True)

    def command(self, *arguments: str) -> list[str]:
        """The argument list that runs a program in it."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def link(self, interface: str, address: str, other: "Namespace", its: str, its_address: str) -> None:
        """A cable between two machines; addresses with their prefix length."""
        self.ip("link", "add", interface, "type", "veth", "peer", "name", its, "netns", other.name)
        for namespace, name, own in ((self, interface, address), (other, its, its_address)):
            namespace.ip("addr", "add", own, "dev", name)
            namespace.ip("link", "set", name, "up")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """What this thread opens meanwhile belongs to that machine, and stays so."""
        with Path("/proc/thread-self/ns/net").open() as home:
            with Path(f"/run/netns/{self.name}").open() as there:
                _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def close(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=True)


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
