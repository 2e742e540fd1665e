"""Asks the Shoal servers which squids are near.

Several servers are asked within one deadline: the next as soon as one has failed, or has been silent for
its share of the time, while a late answer of the first still counts.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue
from urllib.parse import quote, urlsplit

from shoal_client import threads
from shoal_client.candidates import Candidate, from_listing
from shoal_common.errors import InvalidListing, Unavailable
from shoal_common.heartbeat import Upstream
from shoal_common.hosts import HostPort
from shoal_common.listing import Listing, decode
from shoal_common.version import VERSION

MAX_ANSWER = 1024 * 1024
MAX_REDIRECTS = 3
DISTANCE_HEADER = "X-Shoal-Distance"
"""Servers since 2.0 say `km` here; others put a cost of 0 to 1 into `distance`."""
STATE_HEADER = "X-Shoal-State"
"""Here they say `ok`, or what they lack; others say nothing."""
_CHUNK = 16 * 1024


@dataclass(frozen=True, slots=True)
class Question:
    """What the servers are asked for: so many caches at most that serve `service`.

    `keep` names the squids in use, so that the server goes on telling of one that takes no new workers. With
    `ipv6` it tells IPv6 addresses too, which older clients cannot read. Servers before 2.0 ignore both.
    """

    service: Upstream
    count: int
    keep: Sequence[HostPort] = ()
    ipv6: bool = False

    def url(self, server: str) -> str:
        """Where to ask: the server's path (default /nearest), the count, a slash.

        Released clients ask in this form too (`/nearest/7/`).
        """
        parts = urlsplit(server)
        path = parts.path.rstrip("/") or "/nearest"
        kept = [f"keep={quote(','.join(map(str, self.keep)), safe=',:')}"] if self.keep else []
        query = "&".join([*filter(None, [parts.query]), *kept, *(["ipv6=yes"] if self.ipv6 else [])])
        return parts._replace(path=f"{path}/{self.count}/", query=query, fragment="").geturl()

    def candidates(self, listing: Listing) -> tuple[Candidate, ...]:
        """What this host can use of what was listed."""
        return from_listing(listing, self.service, self.count)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the servers had to say: `listing` is None if none answered; `troubles` tells of the others.

    `further` are the servers that may have more to say, of IPv6 or at all: those that have not failed.
    """

    listing: Listing | None
    troubles: tuple[str, ...]
    further: tuple[str, ...] = ()


def ask(servers: Sequence[str], question: Question, seconds: float) -> Answer:
    """The first answer with squids that this host can use, or else one without, or else none, in `seconds`.

    One without may come from a server that has only just started, or knows nothing of this service, so the
    others are asked as well.
    """
    deadline = time.monotonic() + seconds
    results: SimpleQueue[tuple[str, Answer]] = SimpleQueue()
    unasked, silent = list(servers), list[str]()
    troubles: list[str] = []
    failed: set[str] = set()
    useless: Listing | None = None
    share = seconds / max(1, len(unasked))
    while unasked or silent:
        if unasked:
            silent.append(server := unasked.pop(0))
            try:
                threads.start(partial(_deliver, server, question, deadline, results))
            except Unavailable as error:
                results.put((server, Answer(None, (f"{question.url(server)}: {error}",))))
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            server, said = results.get(timeout=min(share, left) if unasked else left)
        except Empty:
            continue
        silent.remove(server)
        troubles += said.troubles
        if said.listing is None:
            failed.add(server)
        elif question.candidates(said.listing):
            return Answer(said.listing, tuple(troubles), _without(failed, servers))
        useless = useless or said.listing
    troubles += [f"{question.url(server)}: no answer within {seconds:g} s" for server in silent]
    return Answer(useless, tuple(troubles), _without(failed, servers))


def _without(failed: set[str], servers: Sequence[str]) -> tuple[str, ...]:
    return tuple(server for server in servers if server not in failed)


def _deliver(
    server: str, question: Question, deadline: float, results: SimpleQueue[tuple[str, Answer]]
) -> None:
    results.put((server, ask_one(server, question, deadline - time.monotonic())))


def ask_one(server: str, question: Question, seconds: float) -> Answer:
    """What one server has to say, or why nothing; how long that takes, see `fetch`."""
    url = question.url(server)
    try:
        listing = fetch(url, seconds)
    except (Unavailable, InvalidListing) as error:
        return Answer(None, (f"{url}: {error}",))
    none = [] if question.candidates(listing) else [f"{url} lists no squid for this host"]
    return Answer(listing, (*none, *(f"{url}: left out {reason}" for reason in listing.refused)))


def fetch(url: str, seconds: float) -> Listing:
    """One server's answer. A server that drips its answer may take longer; the caller must not wait.

    The proxies of the environment are not used: they may be the very squids that went away. Raises
    Unavailable or InvalidListing.
    """
    import requests  # noqa: PLC0415 - a tenth of a second that --version and --help need not spend

    try:
        with requests.Session() as session:
            session.trust_env = False
            session.max_redirects = MAX_REDIRECTS
            session.headers["User-Agent"] = f"shoal-client/{VERSION}"
            with session.get(url, timeout=max(0.001, seconds), stream=True) as reply:
                if reply.status_code != requests.codes.ok:
                    raise Unavailable(f"answered status {reply.status_code}")
                return _as_told(decode(_body(reply.iter_content(_CHUNK))), reply.headers)
    except (requests.RequestException, ValueError) as error:  # ValueError: a redirect to no host
        raise Unavailable(_cause(error)) from None


def _as_told(listing: Listing, headers: Mapping[str, str]) -> Listing:
    """With the server's state, and without distances unless they are kilometres: a cost compares with
    nothing.
    """
    listing = replace(listing, state=headers.get(STATE_HEADER, "").strip())
    if headers.get(DISTANCE_HEADER, "").strip() == "km":
        return listing
    return replace(listing, caches=tuple(replace(cache, distance=None) for cache in listing.caches))


def _body(chunks: Iterable[bytes]) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > MAX_ANSWER:
            raise Unavailable(f"answered with more than {MAX_ANSWER} bytes")
    return bytes(body)


def _cause(error: Exception) -> str:
    """The words of the operating system, which stand innermost."""
    innermost: BaseException = error
    while (inner := innermost.__cause__ or innermost.__context__) is not None:
        innermost = inner
    return f"{type(error).__name__}: {innermost}"[:200]
