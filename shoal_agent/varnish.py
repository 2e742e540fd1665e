"""What a Varnish says of its work, read with its own program varnishstat."""

import json
import shutil
import subprocess
from typing import Any

from shoal_agent.cache import Cache
from shoal_agent.counters import Access, Counters, Reading, knock
from shoal_agent.proc import cpu_seconds

_ERRORS = ("client_req_400", "client_req_417", "req_dropped", "sess_dropped", "fetch_failed")


def read_varnish(cache: Cache, now: float, timeout: float) -> Reading:
    """The counters, read at `now` (monotonic). That it is alive is asked of itself, not of varnishstat."""
    access, reason = knock(cache.place, timeout)
    if access is Access.DOWN:
        return Reading(now, access, reason)
    try:
        report = _report(cache.working_directory, timeout)
        counters = parse_report(report, cpu_seconds(cache.pid) if cache.pid else None)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        return Reading(now, Access.DENIED, f"varnishstat does not tell: {_said(error)}")
    return Reading(now, Access.OPEN, "varnishstat", counters)


def parse_report(report: str, cpu: float | None) -> Counters:
    """The JSON of varnishstat 3 to 7 (since 6.5 below the key `counters`).

    Raises ValueError, KeyError or TypeError for something else.
    """
    parsed: dict[str, Any] = json.loads(report)
    counters: dict[str, Any] = parsed.get("counters", parsed)

    def value(name: str) -> float:
        return float(counters[f"MAIN.{name}"]["value"])

    sent = value("s_resp_hdrbytes") + value("s_resp_bodybytes")
    errors = sum(value(name) for name in _ERRORS if f"MAIN.{name}" in counters)
    return Counters(value("client_req"), value("cache_hit"), errors, sent / 1024, cpu)


def _report(directory: str | None, timeout: float) -> str:
    program = shutil.which("varnishstat") or "varnishstat"
    where = ["-n", directory] if directory else []
    done = subprocess.run(
        [program, "-j", *where],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=True,
    )
    return done.stdout


def _said(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return " ".join(error.stderr.split())[:200] or f"it ended with status {error.returncode}"
    if isinstance(error, FileNotFoundError):
        return "it is not installed"
    return ascii(str(error) or type(error).__name__)[1:-1][:200]
