"""Asks the Shoal servers which squids are near.

Several servers are asked within one deadline: the next as soon as one has failed, or has been silent for
its share of the time, while a late answer of the first still counts.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from threading import Thread
from urllib.parse import quote, urlsplit

from shoal_common.errors import InvalidListing, Unavailable
from shoal_common.hosts import HostPort
from shoal_common.listing import Listing, decode
from shoal_common.version import VERSION

MAX_ANSWER = 1024 * 1024
MAX_REDIRECTS = 3
DISTANCE_HEADER = "X-Shoal-Distance"
"""Servers since 2.0 say `km` here; others put a cost of 0 to 1 into `distance`."""
_CHUNK = 16 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What the servers had to say: `listing` is None if none answered; `troubles` tells of the others."""

    listing: Listing | None
    troubles: tuple[str, ...]


def request_url(server: str, count: int, keep: Sequence[HostPort] = ()) -> str:
    """Where to ask for `count` caches: the server's path (default /nearest), the count, a slash.

    Released clients ask in this form too (`/nearest/7/`). `keep` names the squids in use, so that the
    server goes on telling of one that takes no new workers; older servers ignore it.
    """
    parts = urlsplit(server)
    path = parts.path.rstrip("/") or "/nearest"
    kept = [f"keep={quote(','.join(map(str, keep)), safe=',:')}"] if keep else []
    query = "&".join([*filter(None, [parts.query]), *kept])
    return parts._replace(path=f"{path}/{count}/", query=query, fragment="").geturl()


def ask(servers: Sequence[str], count: int, seconds: float, keep: Sequence[HostPort] = ()) -> Answer:
    """The first answer that lists caches, or else an empty one, or else none, within `seconds`.

    An empty list may come from a server that has only just started, so the others are asked as well.
    `keep` are the squids in use, see `request_url`.
    """
    deadline = time.monotonic() + seconds
    results: SimpleQueue[tuple[str, Listing | Exception]] = SimpleQueue()
    urls = [request_url(server, count, keep) for server in servers]
    unanswered: list[str] = []
    troubles: list[str] = []
    empty: Listing | None = None
    share = seconds / max(1, len(urls))
    while urls or unanswered:
        if urls:
            unanswered.append(url := urls.pop(0))
            Thread(target=_deliver, args=(url, deadline, results), name=f"ask {url}", daemon=True).start()
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            url, result = results.get(timeout=min(share, left) if urls else left)
        except Empty:
            continue
        unanswered.remove(url)
        if isinstance(result, Exception):
            troubles.append(f"{url}: {result}")
        elif result.caches:
            return Answer(result, (*troubles, *_refusals(url, result)))
        else:
            empty = empty or result
            troubles += [f"{url} lists no squid for this host", *_refusals(url, result)]
    troubles += [f"{url}: no answer within {seconds:g} s" for url in unanswered]
    return Answer(empty, tuple(troubles))


def _refusals(url: str, listing: Listing) -> list[str]:
    return [f"{url}: left out {reason}" for reason in listing.refused]


def _deliver(url: str, deadline: float, results: SimpleQueue[tuple[str, Listing | Exception]]) -> None:
    try:
        results.put((url, fetch(url, deadline - time.monotonic())))
    except (Unavailable, InvalidListing) as error:
        results.put((url, error))


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
                kilometres = reply.headers.get(DISTANCE_HEADER, "").strip() == "km"
                return _in_kilometres(decode(_body(reply.iter_content(_CHUNK))), told=kilometres)
    except (requests.RequestException, ValueError) as error:  # ValueError: a redirect to no host
        raise Unavailable(_cause(error)) from None


def _in_kilometres(listing: Listing, *, told: bool) -> Listing:
    """Without distances unless they are kilometres: a cost compares with nothing."""
    if told:
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
