"""Does this proxy serve this object? The one test that agent, server and client share.

A real object is asked for through the proxy, and the answer must be that object and must show that a
cache handled it. A listening port proves nothing, nor does a 200: captive portals and error pages
answer 200 too. `judge` is pure; `probe` does the I/O within one deadline (name resolution apart).
"""

import base64
import http.client
import re
import time
import zlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from urllib.parse import urlsplit

from shoal_common.deadline import Connection
from shoal_common.errors import Unavailable
from shoal_common.hosts import HostPort
from shoal_common.version import VERSION

MAX_BODY = 256 * 1024
USER_AGENT = f"shoal/{VERSION}"
# RFC 9110 (Via), RFC 9211 (Cache-Status); X-Cache* are squid's before 6, X-Varnish is Varnish's.
_PROOFS = ("via", "cache-status", "x-cache", "x-cache-lookup", "x-varnish", "x-squid-error")


class Service(StrEnum):
    """What a target object belongs to."""

    CVMFS = "cvmfs"
    FRONTIER = "frontier"


@dataclass(frozen=True, slots=True)
class Target:
    """An object that a good cache can fetch."""

    url: str
    service: Service

    @classmethod
    def cvmfs(cls, url: str) -> Self:
        """A repository's `.cvmfspublished` or `.cvmfswhitelist`."""
        return cls(url, Service.CVMFS)

    @classmethod
    def frontier(cls, server_url: str) -> Self:
        """A Frontier servlet (`http://host:port/servlet`), asked the smallest real query.

        The query is base64 of a zlib stream with `+ / =` written `. - _` (Frontier client, fn-base64.c).
        """
        query = base64.b64encode(zlib.compress(b"SELECT 1 FROM DUAL"), b".-").replace(b"=", b"_").decode()
        path = f"/Frontier/type=frontier_request:1:DEFAULT&encoding=BLOBzip5&p1={query}"
        return cls(server_url.rstrip("/") + path, Service.FRONTIER)


class Outcome(StrEnum):
    """What a probe found out."""

    GOOD = "good"
    DENIED = "denied"
    """It is a working cache and refuses us."""
    UPSTREAM = "upstream"
    """The cache works but could not get the object: its origin, or its way there, is broken."""
    WRONG = "wrong"
    """Something answered, but not with the object, or not as a cache."""
    UNREACHABLE = "unreachable"
    """No answer within the deadline."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One probe's result: `reason` is a sentence for an operator, `seconds` how long it took.

    `published`: when the manifest that was served was made (seconds since 1970), if it says so.
    """

    outcome: Outcome
    reason: str
    seconds: float
    published: float | None = None

    @property
    def good(self) -> bool:
        return self.outcome is Outcome.GOOD


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def judge(reply: Reply, target: Target, *, proxied: bool, now: float) -> tuple[Outcome, str]:
    """What `reply` says of the proxy it came through, or of the origin itself when not `proxied`.

    `now` (seconds since 1970) is compared with a whitelist's expiry.
    """
    squid_error = _squid_error(reply)
    if reply.status in (401, 403, 407):
        return Outcome.DENIED, f"refused with {reply.status} {squid_error or 'by its access rules'}"
    if squid_error or reply.status in (502, 503, 504):
        return Outcome.UPSTREAM, f"could not fetch from the origin: {reply.status} {squid_error}".rstrip()
    if reply.status != 200:
        return Outcome.WRONG, f"answered status {reply.status} for {target.url}"
    if proxied and not any(name in reply.headers for name in _PROOFS):
        return Outcome.WRONG, "the answer shows no sign of a cache (no Via, Cache-Status or X-Cache)"
    problem = (
        _frontier_problem(reply) if target.service is Service.FRONTIER else _cvmfs_problem(reply, target, now)
    )
    return (Outcome.WRONG, problem) if problem else (Outcome.GOOD, f"served {target.url}")


def _squid_error(reply: Reply) -> str:
    """The name of squid's error; whatever else a peer writes there must not reach a log."""
    stated = reply.headers.get("x-squid-error", "")
    match = re.match(r"[A-Z][A-Z0-9_]{0,63}(?= |\Z)", stated)
    return match[0] if match else "an unnamed error" if stated else ""


def _cvmfs_problem(reply: Reply, target: Target, now: float) -> str | None:
    """Both are lines of a capital letter and a value, up to `--` (cvmfs manifest.cc, whitelist.cc)."""
    repository, _, name = urlsplit(target.url).path.removeprefix("/cvmfs/").partition("/")
    text, mark, _ = reply.body.partition(b"\n--\n")
    lines = text.split(b"\n")
    if f"N{repository}".encode() not in lines:
        return f"the answer is no {name} of {repository}"
    if not mark:
        return f"the {name} of {repository} ends before its signature"
    if name == ".cvmfspublished" and not any(line[:1] == b"C" for line in lines):
        return f"the manifest of {repository} has no root hash"
    if name == ".cvmfswhitelist":
        expiry = next((line[1:] for line in lines if re.fullmatch(rb"E[0-9]{14}", line)), b"")
        if expiry < time.strftime("%Y%m%d%H%M%S", time.gmtime(now)).encode():
            return f"the whitelist of {repository} has expired"
    return None


def _frontier_problem(reply: Reply) -> str | None:
    if b"<frontier" not in reply.body:
        return "the answer is no Frontier reply"
    return None if b'error="0"' in reply.body else "the Frontier servlet reports an error"


def probe(proxy: HostPort | None, target: Target, *, timeout: float, fresh: bool = False) -> Verdict:
    """Fetch `target` through `proxy` (None: straight from the origin) within `timeout` seconds in all.

    Name resolution apart: nothing limits that of a host that is given by name, but the resolver itself.
    `fresh` asks the cache to revalidate, which tests its way to the origin too. Never raises for
    what the network or a hostile peer does.
    """
    start = time.monotonic()
    try:
        reply = _fetch(proxy, target, timeout, fresh=fresh)
    except (OSError, UnicodeError) as error:
        return Verdict(Outcome.UNREACHABLE, _why(error, proxy, timeout), time.monotonic() - start)
    except (http.client.HTTPException, Unavailable) as error:
        return Verdict(Outcome.WRONG, _why(error, proxy, timeout), time.monotonic() - start)
    outcome, reason = judge(reply, target, proxied=proxy is not None, now=time.time())
    published = _published(reply) if outcome is Outcome.GOOD else None
    return Verdict(outcome, reason, time.monotonic() - start, published)


def _published(reply: Reply) -> float | None:
    """The line T of a manifest (cvmfs/manifest.cc); a whitelist and a Frontier answer have none."""
    match = re.search(rb"^T([0-9]{1,12})$", reply.body.partition(b"\n--\n")[0], re.MULTILINE)
    return float(match[1]) if match else None


def _why(error: Exception, proxy: HostPort | None, timeout: float) -> str:
    place = f"{proxy or 'the origin'}"
    if isinstance(error, TimeoutError):
        return f"{place} did not answer within {timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return f"{place} refused the connection"
    if isinstance(error, http.client.RemoteDisconnected):  # is a BadStatusLine too
        return f"{place} hung up without an answer"
    if isinstance(error, http.client.BadStatusLine):
        return f"{place} does not speak HTTP"
    return f"{place}: {ascii(str(error) or type(error).__name__)[1:-1]}"[:200]


def _fetch(proxy: HostPort | None, target: Target, timeout: float, *, fresh: bool) -> Reply:
    parts = urlsplit(target.url)
    origin = HostPort(parts.hostname or "", parts.port or 80)
    place = proxy or origin
    headers = {"Host": parts.netloc, "User-Agent": USER_AGENT, "Connection": "close"}
    if target.service is Service.FRONTIER:
        headers["X-Frontier-Id"] = f"shoal {VERSION}"
    if fresh:
        headers["Cache-Control"] = "max-age=0"
    with closing(Connection(place.host, place.port, timeout)) as connection:
        path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        connection.request("GET", target.url if proxy else path, headers=headers)
        with connection.getresponse() as answer:
            body = answer.read(MAX_BODY + 1)
            if len(body) > MAX_BODY:
                raise Unavailable(f"sent more than {MAX_BODY} bytes for one small object")
            if answer.length:  # http.client lets a cut off body pass when asked for at most so many bytes
                raise Unavailable(f"hung up {answer.length} bytes before the end of the object")
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, body)
