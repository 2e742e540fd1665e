"""Tells whether a file is another one than when it was last looked at, without reading it."""

from pathlib import Path


def stamp(file: Path) -> tuple[int, int, int] | None:
    """What changes when the file is replaced or written anew; None while there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
