"""What a service may leave behind on a machine."""

import os
from pathlib import Path


def living(marker: str) -> list[int]:
    """Process ids whose command line or environment contains `marker`, zombies left out."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            text = (directory / "cmdline").read_bytes() + (directory / "environ").read_bytes()
        except OSError:
            continue
        if marker.encode() in text and int(directory.name) != os.getpid():
            found.append(int(directory.name))
    return found
