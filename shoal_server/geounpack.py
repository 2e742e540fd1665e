"""Takes GeoIP databases out of what they are sent in: gzip, a tar archive like npm's packages, or nothing."""

import gzip
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast
from urllib.parse import urlsplit

from shoal_common.errors import SettingsError

PIECE = 1 << 18


def unpacked(url: str, packed: Path, most: int) -> Iterator[Path]:
    """The databases in a file that was fetched from `url`, beside it and by the names that they are to have.

    Raises SettingsError when there is none or they have more than `most` bytes; EOFError, TarError,
    zlib.error and BadGzipFile when the file is damaged.
    """
    with _content(packed) as content:
        is_tar = content.read(512)[257:262] == b"ustar"
    with _content(packed) as content:
        bounded = _Bounded(content, most)
        if not is_tar:
            yield _copied(bounded, packed.with_name(_name(PurePosixPath(urlsplit(url).path).name)))
            return
        with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r|") as archive:
            names = 0
            for member in archive:
                file = archive.extractfile(member) if member.name.endswith(".mmdb") else None
                if file:
                    names += 1
                    yield _copied(file, packed.with_name(_name(PurePosixPath(member.name).name)))
            if not names:
                raise SettingsError(["an archive without any .mmdb file"])


def _content(packed: Path) -> IO[bytes]:
    """What is in a file that may be packed with gzip."""
    with packed.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(packed)) if is_packed else packed.open("rb")


def _name(name: str) -> str:
    """A file's name without its packing and date, so that it stays the same each month."""
    base = name.removesuffix(".gz").removesuffix(".mmdb")
    base = re.sub(r"[-_.]?20\d\d-?[01]\d(-?[0-3]\d)?$", "", base)
    return f"{base}.mmdb" if re.fullmatch(r"\w[\w.-]{0,99}", base, re.ASCII) else "geoip.mmdb"


class _Bounded:
    """Reads no more than `most` bytes: a small file can unpack to any size."""

    def __init__(self, content: IO[bytes], most: int) -> None:
        self._content = content
        self._left = self._most = most

    def read(self, size: int) -> bytes:
        piece = self._content.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise SettingsError([f"more than {self._most} bytes when unpacked"])
        return piece


def _copied(source: "_Bounded | IO[bytes]", to: Path) -> Path:
    with to.open("wb") as target:
        while piece := source.read(PIECE):
            target.write(piece)
    return to
