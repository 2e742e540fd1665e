"""Sets the proxies of repositories that are mounted already, with cvmfs_talk.

Its exit code says nothing (0 also for "Failed, no valid proxies"): only the line OK means success.
Without -i it reaches no more than the repositories that a configuration lists, so each mounted one is
spoken to by name. It hands over at most 512 bytes and cuts off the rest silently.
"""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from shoal_common.errors import Unavailable
from shoal_common.hosts import is_host_name
from shoal_common.proxylist import DIRECT, ProxyList

MOST_BYTES = 480
SECONDS = 5.0
_GROUP = re.compile(r"\[(\d+)\] (.*)")
_MEMBER = re.compile(r"(DIRECT|https?://[^\s,()]+)(?: \(([^,()]*)[^()]*\))?")


def mounted(table: Path) -> tuple[str, ...]:
    """The names of the CVMFS repositories in a table of mounts (proc(5), /proc/PID/mounts).

    Raises Unavailable if there is no such table.
    """
    try:
        lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise Unavailable(f"{table}: {error.strerror}") from None
    rows = [fields for line in lines if len(fields := line.split(" ")) >= 3]
    names = [Path(at).name for what, at, kind, *_ in rows if what == "cvmfs2" and kind.startswith("fuse")]
    return tuple(dict.fromkeys(name for name in names if is_host_name(name)))


def shortened(chain: ProxyList) -> ProxyList:
    """As many of the first groups as fit; of a first group that is too long alone, as many members."""
    groups = chain.groups
    while len(groups) > 1 and _bytes(groups) > MOST_BYTES:
        groups = groups[:-1]
    while _bytes(groups) > MOST_BYTES:
        groups = (groups[0][:-1],)
    return ProxyList(groups)


def _bytes(groups: tuple[tuple[str, ...], ...]) -> int:
    return len(ProxyList(groups).to_cvmfs().encode())


def command(program: str, repository: str, chain: ProxyList) -> list[str]:
    """The call that sets `chain` for `repository`."""
    return [program, "-i", repository, "proxy", "set", chain.to_cvmfs()]


def uses(program: str, repository: str, chain: ProxyList, environ: Mapping[str, str]) -> bool:
    """Whether the repository uses `chain` already, as far as its answer can be understood."""
    info = _run([program, "-i", repository, "proxy", "info"], environ)
    return matches(info, chain)


def matches(info: str, chain: ProxyList) -> bool:
    """Whether the answer to `proxy info` shows `chain`.

    Each line `[0] http://192.0.2.1:3128 (sq1.example.org, +6h), …` is a group, with addresses for the
    names that stand in parentheses. From `First fallback group: [N]` on the groups are not ours, and
    CVMFS has then dropped every DIRECT.
    """
    shown: list[set[str]] = []
    fallback = re.search(r"First fallback group: \[(\d+)\]", info)
    for line in info.splitlines():
        match = _GROUP.fullmatch(line.strip())
        if match and not (fallback and int(match.group(1)) >= int(fallback.group(1))):
            shown.append({_spoken(*member) for member in _MEMBER.findall(match.group(2))})
    dropped = {DIRECT} if fallback else set()
    expected = [set(group) - dropped for group in chain.groups]
    return bool(shown) and shown == [group for group in expected if group]


def _spoken(url: str, name: str) -> str:
    """A member as it was set: with the name instead of the address."""
    match = re.fullmatch(r"(https?://)(?:\[[^\]]*\]|[^:/]*)((?::\d+)?)/?", url)
    if match is None or name in ("", ":unresolved:"):
        return url
    scheme, port = match.groups()
    host = name.strip("[]")
    return f"{scheme}{f'[{host}]' if ':' in host else host}{port}"


def set_live(program: str, repository: str, chain: ProxyList, environ: Mapping[str, str]) -> None:
    """Give the mounted `repository` this chain; raises Unavailable unless it answers OK."""
    answer = _run(command(program, repository, chain), environ)
    if "OK" not in (line.strip() for line in answer.splitlines()):
        raise Unavailable(f"{repository} did not take the proxies: {answer.strip()[:200] or 'no answer'}")


def _run(arguments: list[str], environ: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            arguments,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{arguments[0]} -i {arguments[2]}: no answer within {SECONDS:g} s") from None
    except OSError as error:
        raise Unavailable(f"{arguments[0]}: {error.strerror}") from None
    return done.stdout.decode("utf-8", "replace")
