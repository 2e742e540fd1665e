"""The bytes that CVMFS Stratum 1 and Frontier servers answer with."""

import hashlib
import zlib
from base64 import b64encode
from datetime import UTC, datetime, timedelta

WHITELIST_DAYS = 30
_FINGERPRINT = ":".join(["AB", "CD"] * 10)


def manifest(fqrn: str, now: datetime, *, revision: int = 1) -> bytes:
    """`.cvmfspublished` of the repository `fqrn` as published at `now` (cvmfs/manifest.cc).

    Lines of one key letter and a value: C root catalogue, B its size, R hash of the root path, D time to
    live in s, S revision, G garbage collectable, A alternative catalogue path, N name, X certificate,
    H history, T Unix time. Then `--`, the hash of the lines, and a binary signature.
    """
    lines = [
        f"C{_hash(fqrn, 'catalog')}",
        "B20480",
        f"R{hashlib.md5(b'', usedforsecurity=False).hexdigest()}",
        "D240",
        f"S{revision}",
        "Gno",
        "Ano",
        f"N{fqrn}",
        f"X{_hash(fqrn, 'certificate')}",
        f"H{_hash(fqrn, 'history')}",
        f"T{int(now.timestamp())}",
    ]
    return _signed(lines)


def whitelist(fqrn: str, now: datetime, *, expires: datetime | None = None) -> bytes:
    """`.cvmfswhitelist` of `fqrn` made at `now`, valid until `expires` (cvmfs/whitelist.cc).

    Creation time, `E` and expiry, both YYYYMMDDhhmmss in UTC, `N` and the name, fingerprints of the
    certificates; then `--`, a hash and a binary signature. The expiry is 30 days ahead by default.
    """
    ends = expires or now + timedelta(days=WHITELIST_DAYS)
    lines = [_stamp(now), f"E{_stamp(ends)}", f"N{fqrn}", f"{_FINGERPRINT}  # {fqrn}"]
    return _signed(lines)


def data_object(path: str, size: int) -> bytes:
    """`size` bytes that are the same for the same `path` and do not compress."""
    return hashlib.shake_256(path.encode()).digest(size)


def frontier_reply(query: str) -> bytes:
    """A Frontier servlet's XML answer: one payload of one row, without error."""
    rows = f"answer to {query}".encode()
    payload = b64encode(zlib.compress(rows)).decode()
    digest = hashlib.md5(rows, usedforsecurity=False).hexdigest()
    return _frontier(
        ' <transaction payloads="1">\n'
        '  <payload type="frontier_request" version="1" encoding="BLOBzip">\n'
        f"   <data>{payload}</data>\n"
        f'   <quality error="0" md5="{digest}" records="1" full_size="{len(rows)}"/>\n'
        "  </payload>\n </transaction>\n"
    )


def frontier_error(message: str) -> bytes:
    """The servlet's refusal of a whole request; it too comes with status 200."""
    return _frontier(f' <global_error msg="{message}"/>\n')


def _frontier(body: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="US-ASCII"?>\n'
        '<!DOCTYPE frontier SYSTEM "http://frontier.fnal.gov/frontier.dtd">\n'
        f'<frontier version="3.42" xmlversion="1.0">\n{body}</frontier>\n'
    ).encode("ascii")


def _signed(lines: list[str]) -> bytes:
    text = "".join(f"{line}\n" for line in lines).encode("ascii")
    digest = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
    # Arbitrary bytes, the first of them no UTF-8: whoever decodes the whole file fails.
    return text + b"--\n" + digest + b"\n\xff\xfe\x00" + hashlib.shake_256(text).digest(253)


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%d%H%M%S")


def _hash(fqrn: str, what: str) -> str:
    return hashlib.sha1(f"{fqrn} {what}".encode(), usedforsecurity=False).hexdigest()
