"""CVMFS_HTTP_PROXY for repositories that are mounted later: a file of the client's own, or a marked block.

CVMFS reads default.conf, default.d/*.conf, default.local, domain.d and config.d in this order, each in a
/bin/sh; a later file wins. So everything written here is inert in a shell.
"""

import os
import re
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


def settings(chain: ProxyList, *, external: bool = False) -> str:
    """The lines that set `chain`, which is not empty; with `external` for external data too."""
    value = shell.quoted(chain.to_cvmfs())
    return "".join(f"{name}={value}\n" for name in ([PROXIES, EXTERNAL] if external else [PROXIES]))


def render(chain: ProxyList, *, external: bool = False) -> bytes:
    """The whole of a file of the client's own."""
    return f"{HEADER}\n{settings(chain, external=external)}".encode("ascii")


def own_file(path: Path, chain: ProxyList, *, external: bool = False) -> Document:
    """A file that belongs to the client alone."""
    return own(path, render(chain, external=external))


def block_in(path: Path, chain: ProxyList, *, external: bool = False) -> Document:
    """A marked block at the end of an administrator's file, every other byte of which is kept.

    What a shell makes of the whole is looked at before it is written.
    """
    lines = settings(chain, external=external)
    block = f"{BLOCK_START}\n{lines}{BLOCK_END}\n".encode("ascii")

    def compose(before: bytes | None) -> bytes:
        after = _with_block(before or b"", block)
        if after != before:
            found = shell.parameters(after, path.parent, {"PATH": os.defpath})
            if found.get(PROXIES) != chain.to_cvmfs():
                raise Unavailable(f"would not give CVMFS the proxies but {found.get(PROXIES)!r}")
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
