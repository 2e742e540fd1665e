"""What the administrator's files say of CVMFS_HTTP_PROXY: defaults of theirs, and what overrides ours.

Nothing that the client itself has written is anybody's default: that would feed on itself.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shoal_client import files
from shoal_client.cvmfs import PROXIES, theirs
from shoal_common.errors import InvalidProxyList
from shoal_common.proxylist import ProxyList

_ASSIGNMENT = re.compile(rf"\s*(?:(?:export|readonly)\s+)?{PROXIES}=(.*)")
_ITSELF = re.compile(rf"\$\{{?{PROXIES}\b")
_DEFAULT = re.compile(rf"\$\{{{PROXIES}:?-([^$`{{}}]*)\}}")
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
        return Defaults(trouble=f"{path}: {PROXIES} is not used as default: {error}")


def overriding(directory: Path, ours: Path) -> tuple[Path, ...]:
    """The files that CVMFS reads after `ours` and that set the proxies anew, for some repository at least."""
    order = _in_order(directory, ours)
    later = order[order.index(ours) + 1 :] if ours in order else []
    return tuple(path for path in later if _may_follow(ours, path) and _overrides(path))


def _in_order(directory: Path, ours: Path) -> list[Path]:
    """All files that CVMFS may read, and `ours` in its place though it may not exist yet."""
    result: list[Path] = []
    for folder in ("default.d", "", "domain.d", "config.d"):
        there = set(files.within(directory / folder)) if folder else {directory / "default.local"}
        there |= {ours} if ours.parent == directory / folder else set()
        suffixes = (".conf",) if folder == "default.d" else (".conf", ".local")
        found = [path for path in there if path.suffix in suffixes]
        result += sorted(found, key=lambda path: (path.suffix, path.name))
    return result


def _may_follow(ours: Path, other: Path) -> bool:
    """A domain's or repository's file says nothing about another one's."""
    if ours.parent.name not in ("domain.d", "config.d"):
        return True
    if ours.parent == other.parent:
        return ours.stem == other.stem
    return ours.parent.name == "domain.d" and other.stem.endswith(f".{ours.stem}")


def _overrides(path: Path) -> bool:
    try:
        return any(not _ITSELF.search(value) for value in _values(path))
    except OSError:  # a file that we may not read says nothing to us
        return False


def _values(path: Path) -> Iterator[str]:
    """The value of each assignment, without its quotes and without a comment behind it."""
    try:
        text = theirs(files.read(path) or b"").decode("utf-8", "surrogateescape")
    except files.NotRegular:  # /dev/null masks a file
        return
    for line in text.splitlines():
        if match := _ASSIGNMENT.match(line):
            yield _unquoted(match.group(1))


def _unquoted(value: str) -> str:
    try:
        words = shlex.split(value, comments=True)
    except ValueError:
        return value
    return words[0] if words else ""
