"""Speaks to repositories that are mounted already, with cvmfs_talk.

Its exit code says nothing (0 also for "Failed, no valid proxies"): only the line OK means success.
Without -i it reaches no more than the repositories that a configuration lists, so each mounted one is
spoken to by name. It hands over at most 512 bytes and cuts off the rest silently.
"""

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from shoal_common.errors import InvalidProxyList, Unavailable
from shoal_common.hosts import is_host_name
from shoal_common.proxylist import AUTO, DIRECT, ProxyList

MOST_BYTES = 480
SECONDS = 5.0
_GROUP = re.compile(r"\[(\d+)\] (.*)")
_MEMBER = re.compile(r"(DIRECT|https?://[^\s,()]+)(?: \(([^,()]*)[^()]*\))?")


class Manager(StrEnum):
    """A mounted repository has two sets of proxies: its own, and one for external data."""

    REGULAR = "proxy"
    EXTERNAL = "external proxy"


def mount_points(table: Path) -> dict[str, Path]:
    """Where each CVMFS repository is mounted first, by a table of mounts (proc(5), /proc/PID/mounts).

    Raises Unavailable if there is no such table.
    """
    try:
        lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise Unavailable(f"{table}: {error.strerror}") from None
    rows = [fields for line in lines if len(fields := line.split(" ")) >= 3]
    places = [Path(at) for what, at, kind, *_ in rows if what == "cvmfs2" and kind.startswith("fuse")]
    found: dict[str, Path] = {}
    for place in places:
        if is_host_name(place.name):
            found.setdefault(place.name, place)
    return found


def shortened(chain: ProxyList) -> ProxyList:
    """What fits of it: every step of its fail-over if that can be, so a final DIRECT too.

    The longest group gives up its last member until all fits. Where one member of each is too much, the
    last groups go, but not a final DIRECT.
    """
    groups = list(chain.groups)
    while _bytes(groups) > MOST_BYTES and any(len(group) > 1 for group in groups):
        longest = max(
            (index for index, group in enumerate(groups) if len(group) > 1),
            key=lambda index: (_bytes([groups[index]]), index),
        )
        groups[longest] = groups[longest][:-1]
    end = groups[-1:] if groups[-1:] == [(DIRECT,)] else []
    while _bytes(groups) > MOST_BYTES and len(groups) > 1 + len(end):
        groups = groups[: -1 - len(end)] + end
    return ProxyList(tuple(groups))


def _bytes(groups: Iterable[tuple[str, ...]]) -> int:
    return len(ProxyList(tuple(groups)).to_cvmfs().encode())


@dataclass(frozen=True, slots=True)
class Talk:
    """One set of proxies of one mounted repository; `program` is cvmfs_talk."""

    program: str
    repository: str
    manager: Manager = Manager.REGULAR
    environ: Mapping[str, str] = field(default_factory=dict)

    def command(self, chain: ProxyList) -> list[str]:
        """The call that sets `chain`."""
        return [*self._start(), "set", chain.to_cvmfs()]

    def info(self) -> str:
        """The answer to `proxy info`; raises Unavailable if there is no answer at all."""
        return self._run([*self._start(), "info"])

    def change(self, chain: ProxyList, before: str) -> None:
        """Set `chain` and look whether it is in force.

        Raises Unavailable if it is not; then what `before`, an answer to `proxy info`, shows is set again.
        """
        answer = self._run(self.command(chain))
        if not _ok(answer):
            raise Unavailable(f"{self} did not take the proxies: {_excerpt(answer)}")
        now = self.info()
        if not matches(now, chain):
            raise Unavailable(
                f"{self} uses other proxies than were set, {self._restored(before)}: {now[:200]!r}"
            )

    def __str__(self) -> str:
        return self.repository if self.manager is Manager.REGULAR else f"{self.repository} (external data)"

    def _start(self) -> list[str]:
        return [self.program, "-i", self.repository, *self.manager.value.split()]

    def _restored(self, before: str) -> str:
        previous = shown(before)
        if not previous.groups:
            return "and the former ones are unknown"
        answer = self._run(self.command(shortened(previous)))
        return "the former ones are back" if _ok(answer) else f"nor the former ones: {_excerpt(answer)}"

    def _run(self, arguments: list[str]) -> str:
        try:
            done = subprocess.run(
                arguments,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(
                f"{self.program} -i {self.repository}: no answer within {SECONDS:g} s"
            ) from None
        except OSError as error:
            raise Unavailable(f"{self.program}: {error.strerror}") from None
        return done.stdout.decode("utf-8", "replace")


def _ok(answer: str) -> bool:
    return "OK" in (line.strip() for line in answer.splitlines())


def _excerpt(answer: str) -> str:
    return answer.strip()[:200] or "no answer"


def shown(info: str) -> ProxyList:
    """The chain that an answer to `proxy info` shows, as it was set; empty if it shows none.

    Each line `[0] http://192.0.2.1:3128 (sq1.example.org, +6h), …` is a group, with addresses for the
    names that stand in parentheses. From `First fallback group: [N]` on the groups are not ours.
    """
    fallback = _fallback(info)
    groups = []
    for line in info.splitlines():
        match = _GROUP.fullmatch(line.strip())
        if match and (fallback is None or int(match.group(1)) < fallback):
            groups.append([_spoken(*member) for member in _MEMBER.findall(match.group(2))])
    try:
        return ProxyList.of(groups)
    except InvalidProxyList:  # set by somebody who knows more than we do
        return ProxyList()


def active(info: str) -> str:
    """The proxy in use now, as CVMFS prints it; empty if it says none."""
    match = re.search(r"^Active proxy: (?:\[\d+\] )?(\S+)", info, re.MULTILINE)
    return match[1] if match else ""


def _fallback(info: str) -> int | None:
    match = re.search(r"First fallback group: \[(\d+)\]", info)
    return int(match[1]) if match else None


def matches(info: str, chain: ProxyList) -> bool:
    """Whether the answer to `proxy info` shows `chain`.

    Where there is a fallback CVMFS has dropped every DIRECT; what it put for `auto` cannot be known.
    """
    dropped = {DIRECT} if _fallback(info) is not None else set()
    expected = [group for group in (set(group) - dropped for group in chain.groups) if group]
    found = [set(group) for group in shown(info).groups]
    if {AUTO} in expected:
        at = expected.index({AUTO})
        return bool(found) and found[:at] == expected[:at]
    return bool(found) and found == expected


def _spoken(url: str, name: str) -> str:
    """A member as it was set: with the name instead of the address."""
    match = re.fullmatch(r"(https?://(?:[^@/]*@)?)(?:\[[^\]]*\]|[^:/@]*)((?::\d+)?)/?", url)
    if match is None or name in ("", ":unresolved:"):
        return url
    scheme, port = match.groups()
    host = name.strip("[]")
    return f"{scheme}{f'[{host}]' if ':' in host else host}{port}"
