"""What is this node's own, so that many nodes do not all do the same thing at the same moment."""

import hashlib
import socket
from pathlib import Path

MACHINE_ID = Path("/etc/machine-id")


def identity(machine_id: Path = MACHINE_ID) -> str:
    """A text that stays the same on this node and is another on others.

    The host name is part of it because images are cloned with their machine-id (machine-id(5)).
    """
    try:
        machine = machine_id.read_text(encoding="ascii", errors="replace").strip()
    except OSError:  # containers often have none; the host name is theirs alone
        machine = ""
    return f"{socket.gethostname()} {machine}"


def share(node: str, of: str) -> float:
    """A number from 0 up to 1, evenly spread over nodes, fixed for one node and what it is for."""
    digest = hashlib.sha256(f"{node}\0{of}".encode("utf-8", "surrogateescape")).digest()
    return float(int.from_bytes(digest[:8], "big") / 2**64)
