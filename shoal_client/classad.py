"""`shoal-client classad`: what is in force on this node, as ClassAd attributes for HTCondor's STARTD_CRON.

It asks no server and changes nothing, so that it may run often and as any user.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from shoal_client import live, talk
from shoal_client.client import recall
from shoal_client.settings import ClientSettings
from shoal_client.talk import Talk
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import Upstream
from shoal_common.proxylist import DIRECT, ProxyList
from shoal_common.version import VERSION

UNDEFINED = "undefined"
_PREFIXES = {Upstream.CVMFS: "Shoal", Upstream.FRONTIER: "ShoalFrontier"}


def advertise(settings: ClientSettings, environ: Mapping[str, str], now: float, out: TextIO) -> None:
    """Print one attribute a line; `undefined` for what is not known."""
    attributes = {"ShoalVersion": _string(VERSION)}
    for service, prefix in _PREFIXES.items():
        remembered = recall(settings.state_dir, service)
        groups = [[member.proxy for member in group] for group in remembered.groups] if remembered else []
        attributes[f"{prefix}Proxies"] = _string(ProxyList.of(groups).to_cvmfs()) if remembered else UNDEFINED
        age = max(0, round(now - remembered.time)) if remembered else UNDEFINED
        attributes[f"{prefix}ProxyAge"] = str(age)
    attributes |= _mounted(settings, environ)
    for name, value in attributes.items():
        out.write(f"{name} = {value}\n")


def _mounted(settings: ClientSettings, environ: Mapping[str, str]) -> dict[str, str]:
    active = {name: _active(name, at, settings, environ) for name, at in live.mount_points(settings).items()}
    direct = [name for name, proxy in active.items() if proxy == DIRECT]
    known = bool(active) and all(active.values())
    return {
        "ShoalRepositories": _string(",".join(active)),
        "ShoalDirectRepositories": _string(",".join(direct)),
        "ShoalDirect": "true" if direct else "false" if known else UNDEFINED,
    }


def _active(name: str, at: Path, settings: ClientSettings, environ: Mapping[str, str]) -> str:
    """The proxy in use: everybody may read the attribute of a mount, only root may use cvmfs_talk."""
    try:
        return os.getxattr(at, "user.proxy").decode("ascii", "replace").strip()
    except OSError:
        pass
    try:
        return talk.active(Talk(settings.cvmfs_talk, name, environ=environ).info())
    except Unavailable:
        return ""


def _string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
