"""CVMFS_HTTP_PROXY for repositories that are mounted later: a file of the client's own, or a marked block.

CVMFS reads default.conf, default.d/*.conf, default.local, domain.d and config.d in this order, each in a
/bin/sh; a later file wins. So everything written here is inert in a shell.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from shoal_client import shell
from shoal_client.documents import MARK, NOTICE, Document, own
from shoal_common.errors import Unavailable
from shoal_common.proxylist import ProxyList

PROXIES = "CVMFS_HTTP_PROXY"
EXTERNAL = "CVMFS_EXTERNAL_HTTP_PROXY"
HEADER = f"# {NOTICE}"
BLOCK_START = "# >>> shoal-client replaces what stands from here"
BLOCK_END = "# <<< to here"
BLOCK = re.compile(
    rb"^%b\r?\n(?:.*\n)*?%b(?:\r?\n|\Z)" % (re.escape(BLOCK_START.encode()), re.escape(BLOCK_END.encode())),
    re.MULTILINE,
)


def settings(chain: ProxyList, external: ProxyList | None = None) -> dict[str, str]:
    """The parameters that set `chain`, which is not empty, and `external` for external data if given."""
    chains = {PROXIES: chain} | ({EXTERNAL: external} if external else {})
    return {name: each.to_cvmfs() for name, each in chains.items()}


def lines(parameters: Mapping[str, str]) -> str:
    """One line each, inert in a shell; raises InvalidProxyList."""
    return "".join(f"{name}={shell.quoted(value)}\n" for name, value in parameters.items())


def render(chain: ProxyList, external: ProxyList | None = None) -> bytes:
    """The whole of a file of the client's own."""
    return f"{HEADER}\n{lines(settings(chain, external))}".encode("ascii")


def own_file(path: Path, chain: ProxyList, external: ProxyList | None = None) -> Document:
    """A file that belongs to the client alone."""
    return own(path, render(chain, external))


def block_in(path: Path, chain: ProxyList, external: ProxyList | None = None) -> Document:
    """A marked block at the end of an administrator's file, every other byte of which is kept.

    What a shell makes of the whole is looked at before it is written.
    """
    wanted = settings(chain, external)
    block = f"{BLOCK_START}\n{lines(wanted)}{BLOCK_END}\n".encode("ascii")

    def compose(before: bytes | None) -> bytes:
        after = _with_block(before or b"", block)
        if after != before:
            found = shell.parameters(after, path.parent, {"PATH": os.defpath})
            for name, value in wanted.items():
                if found.get(name) != value:
                    raise Unavailable(f"would not give CVMFS the proxies but {found.get(name)!r}")
        return after

    return Document(path, compose, BLOCK_START.encode())


def _with_block(text: bytes, block: bytes) -> bytes:
    there = BLOCK.findall(text)
    marks = [text.count(mark.encode()) for mark in (BLOCK_START, BLOCK_END)]
    if len(there) > 1 or marks != [len(there)] * 2:
        raise Unavailable("has a damaged block of shoal-client: repair or remove it by hand")
    if there:
        return text.replace(there[0], block)
    return text + (b"\n" if text and not text.endswith(b"\n") else b"") + block


def theirs(content: bytes) -> bytes:
    """A file of CVMFS without what the client has put there: nothing of one that it has written itself."""
    return b"" if content.startswith(b"# " + MARK) else BLOCK.sub(b"", content)
