"""What the administrator's files say of the proxies: defaults of theirs, and what overrides ours.

Nothing that the client itself has written is anybody's default: that would feed on itself. Nor is anything
of a configuration repository: it is no administrator's of this node, and its files are behind the proxies.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shoal_client import cvmfs, files
from shoal_client.cvmfs import PROXIES, theirs
from shoal_client.effective import SPECIFIC, Configuration, View, configuration
from shoal_client.settings import ClientSettings
from shoal_common.errors import Unavailable
from shoal_common.proxylist import ProxyList

_ASSIGNMENT = re.compile(rf"\s*(?:(?:export|readonly)\s+)?{PROXIES}=(.*)")
_ITSELF = re.compile(rf"\$\{{?{PROXIES}\b")
_ANY = ProxyList.of([["http://any.invalid:3128"]])
"""Stands for the squids of a choice, and for nothing that anybody else has named."""
NONE = ProxyList()


@dataclass(frozen=True, slots=True)
class Defaults:
    """The administrator's own proxies, and what of theirs could not be understood."""

    chain: ProxyList = NONE
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Own:
    """The administrator's proxies for all repositories, and those for external data, if these are to be set.

    `unknown`: why they are not known, if they are not.
    """

    chain: ProxyList = NONE
    external: ProxyList = NONE
    troubles: tuple[str, ...] = ()
    unknown: str = ""


def own(settings: ClientSettings) -> Own:
    """See `Own`."""
    try:
        found = defaults(settings)
        external = defaults(settings, cvmfs.EXTERNAL) if settings.external_data else Defaults()
    except Unavailable as error:
        return Own(unknown=str(error))
    troubles = tuple(dict.fromkeys((*found.troubles, *external.troubles)))
    return Own(found.chain, external.chain, troubles)


def defaults(settings: ClientSettings, parameter: str = PROXIES, repository: str = "") -> Defaults:
    """`default_proxy`, or else what CVMFS would make of the files if nothing of ours were in them.

    Those of `repository` are looked at too; "": none but the files for all. Where nobody sets the proxies
    for external data they are the same as the others. Raises Unavailable if a file cannot be evaluated.
    """
    if settings.default_proxy.groups:
        return Defaults(settings.default_proxy)
    found = evaluated(settings.cvmfs_directory, repository, View(theirs_alone=True))
    troubles = tuple(found.troubles)
    value = found.values.get(parameter) or found.values.get(PROXIES)
    if value is None:
        return Defaults(NONE, troubles)
    chain, faults = ProxyList.usable(value.text)
    told = (f"{value.files[-1]}: left out of {parameter}: {fault}" for fault in faults)
    return Defaults(chain, (*troubles, *told))


def evaluated(directory: Path, repository: str, view: View) -> Configuration:
    """What CVMFS makes of the files; raises Unavailable if that is not known."""
    found = configuration(directory, repository, {}, view)
    if found.unknown:
        raise Unavailable("; ".join(found.unknown))
    return found


def missing(own: ProxyList, path: Path, settings: ClientSettings, parameter: str) -> ProxyList:
    """What of `own`, the administrator's proxies, the file at `path` has to say behind ours.

    That is all but what another file puts around ours by itself (`${CVMFS_HTTP_PROXY};DIRECT`). Raises
    Unavailable as `defaults` does.
    """
    directory = settings.cvmfs_directory
    if not own.groups or directory not in path.parents:
        return own
    try:
        before = theirs(files.read(path) or b"")
    except OSError:  # the attempt to write it will say why
        return own
    content = before + b"\n" + cvmfs.lines({parameter: _ANY.to_cvmfs()}).encode("ascii")
    found = evaluated(directory, repository_of(path), View({path: content}, theirs_alone=True))
    whole, _ = ProxyList.usable(found.text(parameter))
    around = whole.members if covers(whole, _ANY) else ()
    return ProxyList.of([member for member in group if member not in around] for group in own.groups)


def covers(whole: ProxyList, part: ProxyList) -> bool:
    """Whether all of `part` is in it."""
    return set(part.members) <= set(whole.members)


def repository_of(path: Path) -> str:
    """One that reads the file at `path`: of its domain, or its own; "" if all do."""
    if path.parent.name not in SPECIFIC:
        return ""
    return f".{path.stem}" if path.parent.name == "domain.d" else path.stem


def overriding(directory: Path, ours: Path) -> tuple[Path, ...]:
    """The files that CVMFS reads after `ours` and that set the proxies anew, for some repository at least."""
    order = _in_order(directory, ours)
    later = order[order.index(ours) + 1 :] if ours in order else []
    return tuple(path for path in later if _may_follow(ours, path) and _overrides(path))


def _in_order(directory: Path, ours: Path) -> list[Path]:
    """All files that CVMFS may read, and `ours` in its place though it may not exist yet."""
    result: list[Path] = []
    for folder in ("default.d", "", *SPECIFIC):
        there = set(files.within(directory / folder)) if folder else {directory / "default.local"}
        there |= {ours} if ours.parent == directory / folder else set()
        suffixes = (".conf",) if folder == "default.d" else (".conf", ".local")
        found = [path for path in there if path.suffix in suffixes]
        result += sorted(found, key=lambda path: (path.suffix, path.name))
    return result


def _may_follow(ours: Path, other: Path) -> bool:
    """A domain's or repository's file says nothing about another one's."""
    if ours.parent.name not in SPECIFIC:
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
