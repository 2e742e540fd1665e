"""The program that `CvmfsTalk` puts in place of cvmfs_talk; runs alone, on the standard library.

It keeps the manners of the real one (cvmfs/cvmfs_talk.cc, talk.cc, network/download.cc), the bad ones
too: exit status 0 for `Usage:` and `Failed, no valid proxies`, 0 without a word when nothing is listed,
1 for the whole call when one repository is not mounted, commands cut at 512 bytes, chains taken as
they are, blanks and all.
"""

import fcntl
import getopt
import ipaddress
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

_BUFFER = 512
_HELP = "Usage: cvmfs_talk [-i instance | -p socket] <command>\n  Without -i: all of CVMFS_REPOSITORIES."
_State = dict[str, Any]


def main(arguments: list[str], state_file: Path) -> int:
    """Run one call against the state in `state_file` and return the exit status."""
    with state_file.open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        state = json.load(file)
        state["calls"].append(arguments)
        status = _call(arguments, state)
        after = json.dumps(state, indent=1)
        # Written in place, not renamed over it: the lock is this file's.
        file.seek(0)
        file.write(after)
        file.truncate()
    return status


def _call(arguments: list[str], state: _State) -> int:
    try:
        options, words = getopt.getopt(arguments, "hi:p:")
    except getopt.GetoptError:
        print(_HELP)
        return 1
    instance = ""
    for option, value in options:
        if option == "-h":
            print(_HELP)
            return 0
        instance = Path(value).name.removeprefix("cvmfs_io.") if option == "-p" else value
    command = " ".join(words)
    if not command:
        print("Command missing", file=sys.stderr)
        return 1
    if instance:
        return 0 if _send(command, instance, state) else 1
    reached = []
    for name in filter(None, state["cvmfs_repositories"].split(",")):
        print(f"{name}:", flush=True)
        reached.append(_send(command, name, state))
    return 0 if all(reached) else 1


def _send(command: str, instance: str, state: _State) -> bool:
    fqrn = instance if "." in instance else f"{instance}.{state['default_domain']}"
    if fqrn not in state["mounted"]:
        workspace = "/var/lib/cvmfs/shared"
        print(
            f"Seems like CernVM-FS is not running in {workspace} (not found: {workspace}/cvmfs_io.{fqrn})",
            file=sys.stderr,
        )
        return False
    line = os.fsencode(command)[:_BUFFER].decode(errors="replace")
    print(_answer(line, state["mounted"][fqrn], state), flush=True)
    return True


def _answer(line: str, mount: _State, state: _State) -> str:
    for name in ("proxy", "external proxy"):
        if line == f"{name} info":
            return _info(mount, state, external=name != "proxy")
        if line.startswith(f"{name} set"):
            return _set(line, name, mount, state)
    if line.startswith("proxy fallback"):
        if len(line) < len("proxy fallback "):
            return "Usage: proxy fallback <proxy list>"
        mount["fallback"] = line.removeprefix("proxy fallback ")
        return "OK"
    return "unknown command"


def _set(line: str, name: str, mount: _State, state: _State) -> str:
    start = len(f"{name} set ")
    if len(line) <= start:
        return f"Usage: {name} set <proxy list>"
    chain = line[start:]
    if name == "external proxy":
        mount["external"] = chain
        return "OK"
    chain = ";".join(state["auto"] if group == "auto" else group for group in chain.split(";"))
    if not chain:
        return "Failed, no valid proxies"
    mount["proxies"] = chain
    return "OK"


def _info(mount: _State, state: _State, *, external: bool) -> str:
    regular, fallback = mount["external" if external else "proxies"], "" if external else mount["fallback"]
    groups = _groups(regular, without_direct=bool(fallback))
    first_fallback = len(groups)
    if fallback:
        groups += _groups(fallback, without_direct=True)
    if not groups:
        return "No proxies defined"
    for group in groups:
        # One member is picked at random and comes first; at random, but the same in each run.
        picked = random.Random("|".join(group)).randrange(len(group))
        group[0], group[picked] = group[picked], group[0]
    shown = [[_shown(proxy, state) for proxy in group] for group in groups]
    lines = ["Load-balance groups:"]
    lines += [
        f"[{number}] {', '.join(url + note for url, note in group)}" for number, group in enumerate(shown)
    ]
    lines.append(f"Active proxy: [0] {shown[0][0][0]}")
    if first_fallback < len(groups):
        lines.append(f"First fallback group: [{first_fallback}]")
    return "\n".join(lines)


def _groups(chain: str, *, without_direct: bool) -> list[list[str]]:
    groups = [group.split("|") for group in chain.split(";")] if chain else []
    if without_direct:
        groups = [[proxy for proxy in group if proxy not in ("", "DIRECT")] for group in groups]
    return [group for group in groups if group]


def _shown(proxy: str, state: _State) -> tuple[str, str]:
    """The URL as `proxy info` prints it, and what it adds about the name."""
    if proxy == "DIRECT":
        return proxy, ""
    if not proxy:
        return "", " (:unresolved:, +1m)"
    url = proxy if "://" in proxy else f"http://{proxy}"
    host = _host(url)
    address = _address(host, state)
    if address is None:
        return url, " (:unresolved:, +1m)"
    return url.replace(host, address, 1), f" ({host}, +6h)"


def _host(url: str) -> str:
    authority = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    return authority.partition(":")[0]


def _address(host: str, state: _State) -> str | None:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        known: str | None = state["hosts"].get(host)
        return known
    return host


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().with_name("cvmfs_talk.json")))
