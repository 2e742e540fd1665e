"""Runs one of Shoal's programs as it would run on a VM of its own at one address.

All the VMs of the demo are this machine, so two things are arranged before the program is loaded, and
nothing in it is changed: its TCP connections come from the VM's address (loopback would make all of them
come from 127.0.0.1), and it sees no network interface but `lo` (this machine's own addresses are not the
VM's). `python -m demo.vm ADDRESS MODULE FLAG…`
"""

import importlib
import socket
import sys
from typing import Any

import netifaces


def connect_from(address: str) -> None:
    """From now on every TCP connection of this process over IPv4 begins at `address`."""

    class BoundSocket(socket.socket):
        def connect(self, place: Any) -> None:
            if self.family == socket.AF_INET and self.type == socket.SOCK_STREAM:
                self.bind((address, 0))
            super().connect(place)

    socket.socket = BoundSocket  # type: ignore[misc]


def see_loopback_only() -> None:
    """From now on this process finds no other interface than `lo`."""
    netifaces.interfaces = lambda: ["lo"]


def main() -> None:
    """Run the program with the rest of the command line."""
    _, address, module, *flags = sys.argv
    connect_from(address)
    see_loopback_only()
    sys.argv = [module, *flags]
    sys.exit(importlib.import_module(module).main())


if __name__ == "__main__":
    main()
