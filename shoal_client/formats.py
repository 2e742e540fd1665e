"""The other files that a choice can be written to: PAC, JSON, environment files, a ConfigMap."""

import json
from pathlib import Path

from shoal_client import cvmfs, shell
from shoal_client.documents import NOTICE, Document, left, own
from shoal_common.proxylist import DIRECT, ProxyList


def pac(chain: ProxyList) -> bytes:
    """A PAC file in the dialect that CVMFS, Frontier and WLCG's tools read in all their versions.

    `PROXY http://host:port`, each member an alternative of its own; DIRECT only if it is in the chain.
    """
    names = [f"PROXY {url}" for url in chain.plain] + ([DIRECT] if DIRECT in chain.members else [])
    return (
        f'// {NOTICE}\nfunction FindProxyForURL(url, host)\n{{\n    return "{"; ".join(names)}";\n}}\n'
    ).encode("ascii")


def as_json(chain: ProxyList) -> bytes:
    """The choice for other programs: groups in fail-over order, and the three ways to write it."""
    answer = {
        "comment": NOTICE,
        "groups": chain.groups,
        "direct": DIRECT in chain.members,
        "cvmfs_http_proxy": chain.to_cvmfs(),
        "frontier": chain.to_frontier(),
    }
    return (json.dumps(answer, indent=1) + "\n").encode("ascii")


def variable(path: Path, name: str, value: str) -> bytes:
    """A file that sets one environment variable, in the grammar that its name asks for.

    `.sh` for profile.d, `.csh` for csh; everything else is an environment file (pam_env(8),
    systemd.exec(5), `env` of a container). Raises InvalidProxyList for what a shell might act upon.
    """
    text = shell.quoted(value) if value else '""'
    line = {".sh": f"export {name}={text}", ".csh": f"setenv {name} {text}"}.get(
        path.suffix, f"{name}={text}"
    )
    return f"# {NOTICE}\n{line}\n".encode("ascii")


def http_proxy(path: Path, chain: ProxyList) -> Document:
    """The first proxy as `http_proxy`, which cannot say more than one; none where there is DIRECT alone.

    Raises InvalidProxyList.
    """
    if not chain.plain and DIRECT not in chain.members:
        return left(path, "no proxy in it can be an http_proxy")
    return own(path, variable(path, "http_proxy", chain.plain[0] if chain.plain else ""))


def config_map(
    name: str, namespace: str, path: Path, chain: ProxyList, external: ProxyList | None = None
) -> Document:
    """A Kubernetes ConfigMap as JSON, which `kubectl apply -f` takes: one key, a file for default.d."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    data = {"60-shoal.conf": cvmfs.render(chain, external).decode("ascii")}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    return own(path, (json.dumps(manifest, indent=1) + "\n").encode("ascii"))
