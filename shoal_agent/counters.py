"""What a squid's cache manager says of its work, read over HTTP.

Asked in origin form, which every squid since 3.2 takes; keys as in squid's src/stat.cc. Some versions
answer a menu in place of the report (bug 5106), so a report counts only when its keys are there.
"""

import http.client
import re
import socket
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum

from shoal_common.deadline import Connection
from shoal_common.hosts import HostPort

_MAX_REPORT = 256 * 1024
_LINE = re.compile(r"^([a-z_.]+) = ([0-9]+(?:\.[0-9]+)?)", re.MULTILINE)


class Access(StrEnum):
    """How a cache answers those who ask for its counters."""

    OPEN = "open"
    DENIED = "denied"
    """It is alive and does not tell."""
    DOWN = "down"
    """It refuses connections or gives no answer: who hangs up is alive."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Sums since the cache began (kB of 1024 bytes, processor seconds), and present figures."""

    requests: float
    hits: float
    errors: float
    kb_out: float
    cpu_seconds: float | None = None
    median_service_ms: float | None = None
    fds_used: int | None = None
    fds_max: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the counters at the monotonic time `at`; they are None unless `access` is OPEN."""

    at: float
    access: Access
    reason: str
    counters: Counters | None = None


def read_squid(place: HostPort, now: float, timeout: float) -> Reading:
    """The counters, read at `now` (monotonic); each answer has `timeout` seconds."""
    access, answer = ask(place, "counters", timeout)
    if access is not Access.OPEN:
        return Reading(now, access, answer)
    counters = parse_counters(answer)
    if counters is None:
        return Reading(now, Access.DENIED, "its cache manager answers something else than its counters")
    return Reading(now, Access.OPEN, "its cache manager", counters)


def with_present_figures(reading: Reading, place: HostPort, timeout: float) -> Reading:
    """The same with what other pages say: service time and file descriptors."""
    if reading.counters is None:
        return reading
    _, recent = ask(place, "5min", timeout)
    _, info = ask(place, "info", timeout)
    median = _values(recent).get("client_http.all_median_svc_time")
    counters = replace(
        reading.counters,
        median_service_ms=None if median is None else round(median * 1000, 3),
        fds_used=_labelled(info, "Number of file desc currently in use"),
        fds_max=_labelled(info, "Maximum number of file descriptors"),
    )
    return replace(reading, counters=counters)


def parse_counters(report: str) -> Counters | None:
    """The page `counters`; None if it is something else."""
    values = _values(report)
    try:
        return Counters(
            requests=values["client_http.requests"],
            hits=values["client_http.hits"],
            errors=values["client_http.errors"],
            kb_out=values["client_http.kbytes_out"],
            cpu_seconds=values.get("cpu_time"),
        )
    except KeyError:
        return None


def ask(place: HostPort, page: str, timeout: float) -> tuple[Access, str]:
    """A page of the cache manager, or why there is none after `timeout` seconds in all."""
    with closing(Connection(place.host, place.port, timeout)) as connection:
        try:
            connection.request("GET", f"/squid-internal-mgr/{page}", headers={"Connection": "close"})
            with connection.getresponse() as answer:
                text = answer.read(_MAX_REPORT).decode("utf-8", errors="replace")
                if answer.status == 200:
                    return Access.OPEN, text
                return Access.DENIED, f"its cache manager refuses with status {answer.status}"
        except (ConnectionResetError, http.client.HTTPException):
            return Access.DENIED, "it hangs up on those who ask its cache manager"
        except OSError as error:
            return Access.DOWN, _why(error, place, timeout)


def knock(place: HostPort, timeout: float) -> tuple[Access, str]:
    """Ask a Varnish something that it answers (with 400) without asking its back end: HTTP/0.9."""
    try:
        with socket.create_connection((place.host, place.port), timeout=timeout) as connection:
            connection.sendall(b"GET /\r\n\r\n")
            answer = connection.recv(64)
    except OSError as error:
        return Access.DOWN, _why(error, place, timeout)
    return Access.OPEN, "it answers" if answer else "it hangs up"


def _why(error: OSError, place: HostPort, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"{place} did not answer within {timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return f"{place} refused the connection"
    return f"{place} cannot be reached: {error.strerror or type(error).__name__}"


def _values(report: str) -> dict[str, float]:
    return {key: float(number) for key, number in _LINE.findall(report)}


def _labelled(report: str, label: str) -> int | None:
    match = re.search(rf"^\s*{label}:\s+([0-9]{{1,9}})\s*$", report, re.MULTILINE)
    return int(match[1]) if match else None
