"""CVMFS_HTTP_PROXY in a file of the client's own, and what the administrator's files say of it.

CVMFS reads default.conf, default.d/*.conf, default.local, domain.d and config.d in this order, each in a
/bin/sh; a later file wins. So everything written here is inert in a shell, and a value in default.local
both serves as the administrator's default and keeps our file from having any effect.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shoal_client import files
from shoal_common.errors import InvalidProxyList, Unavailable
from shoal_common.proxylist import ProxyList

MARK = "# Written by shoal-client"
HEADER = f"{MARK}, which replaces this file: changes belong into shoal_client.conf."
_ASSIGNMENT = re.compile(r"\s*(?:(?:export|readonly)\s+)?CVMFS_HTTP_PROXY=(.*)")
_ITSELF = re.compile(r"\$\{?CVMFS_HTTP_PROXY\b")
_DEFAULT = re.compile(r"\$\{CVMFS_HTTP_PROXY:?-([^$`{}]*)\}")
_INERT = re.compile(r"[A-Za-z0-9.:/|;_\-~%@\[\]]+")


def render(chain: ProxyList) -> bytes:
    """The whole file for a chain that is not empty."""
    value = chain.to_cvmfs()
    if not _INERT.fullmatch(value):
        raise InvalidProxyList(f"{value!r} is nothing that a shell may read")
    return f'{HEADER}\nCVMFS_HTTP_PROXY="{value}"\n'.encode("ascii")


def read(path: Path) -> bytes | None:
    """What the client's file holds, None if there is none.

    Raises Unavailable if it cannot be read, or is somebody else's: then it must not be replaced.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None
    if content and not content.startswith(MARK.encode()):
        raise Unavailable(f"{path} was not written by shoal-client and is left as it is")
    return content


def write(path: Path, content: bytes) -> bool:
    """Whether the file had to be changed. Raises Unavailable, and then nothing has changed."""
    if read(path) == content:
        return False
    try:
        files.replace(path, content)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}") from None
    return True


NONE = ProxyList()


@dataclass(frozen=True, slots=True)
class Defaults:
    """The administrator's own proxies, and why none could be understood where there are some."""

    chain: ProxyList = NONE
    trouble: str | None = None


def defaults(directory: Path) -> Defaults:
    """What default.local sets, or has as the default in `${CVMFS_HTTP_PROXY:-…}`.

    Only plain values are understood, the last one counts. One that extends ours (`${CVMFS_HTTP_PROXY};…`)
    comes behind it anyway.
    """
    path = directory / "default.local"
    try:
        values = list(_values(path))
    except OSError as error:
        return Defaults(trouble=f"{path}: {error.strerror}")
    if not values:
        return Defaults()
    given = _DEFAULT.fullmatch(values[-1])
    value = given.group(1) if given else values[-1]
    if _ITSELF.search(value):
        return Defaults()
    try:
        return Defaults(ProxyList.parse(value))
    except InvalidProxyList as error:
        return Defaults(trouble=f"{path}: CVMFS_HTTP_PROXY is not used as default: {error}")


def overriding(directory: Path, own: Path) -> tuple[Path, ...]:
    """The files that CVMFS reads after `own` (in default.d) and that set the proxies anew."""
    if own.parent != directory / "default.d":
        return ()
    later = [path for path in sorted(own.parent.glob("*.conf")) if path.name > own.name]
    later.append(directory / "default.local")
    for folder in ("domain.d", "config.d"):
        later += sorted(path for path in (directory / folder).glob("*") if path.suffix in (".conf", ".local"))
    return tuple(path for path in later if _overrides(path))


def _overrides(path: Path) -> bool:
    try:
        return any(not _ITSELF.search(value) for value in _values(path))
    except OSError:  # a file that we may not read says nothing to us
        return False


def _values(path: Path) -> Iterator[str]:
    """The value of each assignment, without its quotes and without a comment behind it.

    What the client itself has written, be it in default.local, is nobody's default.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in () if text.startswith(MARK) else text.splitlines():
        if match := _ASSIGNMENT.match(line):
            yield _unquoted(match.group(1))


def _unquoted(value: str) -> str:
    try:
        words = shlex.split(value, comments=True)
    except ValueError:
        return value
    return words[0] if words else ""
