"""`status`, `squids` and `show`: what a running server knows."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from shoal_server.commands import service
from shoal_server.commands.command import Answer, Call, Command
from shoal_server.commands.explaining import place
from shoal_server.commands.plain import Cell, duration, facts, safe, table
from shoal_server.commands.service import NotThere, Service

PAGE = 1000
EVENTS = 20
START_SECONDS = 5.0
"""So long a server may take from its start until it listens."""
FILTERS = ("state", "reach", "site", "country", "text", "sort")
Facts = Mapping[str, Any]
Lines = list[tuple[str, Cell]]


def _status(call: Call) -> Answer:
    server = Service.of(call)
    found = server.get("/api/v1/status", patience=START_SECONDS)
    head = ["process", "heartbeats", "store", "reported"]
    rows = [_process(one, call.now) for one in found["processes"]]
    headline = facts([("server", server.url), *_headline(found, call.now)])
    return Answer(found, headline + (f"\n{table(head, rows)}" if rows else ""))


def _process(one: Facts, now: float) -> list[Cell]:
    stale = one["stale_seconds"]
    return [
        one["server"],
        "taken in" if one["connected"] else "-",
        f"away for {duration(stale)}" if stale else "ok",
        _ago(one["at"], now),
    ]


def _headline(found: Facts, now: float) -> Lines:
    squids, beats = found["squids"], found["heartbeats"]
    stale = found["stale_since"]
    return [
        ("version", found["version"]),
        ("state", found["state"]),
        ("squids", f"{squids['total']}: {_counted(squids['by_state'])}"),
        ("checked", _counted(squids["by_reach"])),
        ("draining", squids["draining"]),
        ("load", f"{_percent(found['load'], found['max_load'])} of {found['max_load'] / 1000:.0f} MB/s"),
        ("heartbeats", f"{beats['per_second']} a second; {beats['accepted']} taken"),
        ("refused", _counted(beats["refused"]) or "none"),
        ("intake", "connected" if found["intake"] else "away"),
        ("store", "ok" if stale is None else f"away for {duration(now - stale)}"),
        ("hold", "on: improbably many squids fell silent" if found["hold"] else "off"),
        ("GeoIP", None if found["geoip_built"] is None else f"made {_ago(found['geoip_built'], now)}"),
    ]


def _squids_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=["alive", "suspect", "dead"], help="how recently they were heard")
    parser.add_argument(
        "--reach", choices=["unverified", "global", "local", "failed"], help="how their checks ended"
    )
    parser.add_argument("--site", metavar="NAME", help="those at this site")
    parser.add_argument("--country", metavar="CODE", help="those in this country")
    parser.add_argument("--text", metavar="PART", help="those with this in name, id, place, owner or agent")
    parser.add_argument("--sort", metavar="COLUMN", help="by hostname (default), utilisation, seen, ...")
    parser.add_argument("--descending", action="store_true", help="the largest or latest first")
    service.arguments(parser)


def _squids(call: Call) -> Answer:
    server = Service.of(call)
    order = "descending" if call.args.descending else None
    asked = {name: getattr(call.args, name) for name in FILTERS}
    page = server.get("/api/v1/squids", limit=PAGE, order=order, **asked)
    squids = list(page["squids"])
    while page["next"]:
        page = server.get(page["next"])
        squids += page["squids"]
    found = {"state": page["state"], "total": len(squids), "squids": squids}
    head = ["id", "hostname", "place", "state", "checked", "load", "hits", "heard", "reason"]
    rows = [_row(squid, call.now) for squid in squids]
    narrowed = any(asked[name] for name in FILTERS if name != "sort")
    if not rows:
        return Answer(found, "There is no such squid.\n" if narrowed else _none(server))
    return Answer(found, table(head, rows))


def _none(server: Service) -> str:
    """Why a whole list is empty: squids of their own site alone are not shown to whoever asks."""
    total = server.get("/api/v1/status")["squids"]["total"]
    if not total:
        return "There are no squids yet.\n"
    told = "the only squid is" if total == 1 else f"all {total} squids are"
    return f"None is shown to you: {told} shown to workers of the same site, and with the operator's token.\n"


def _row(squid: Facts, now: float) -> list[Cell]:
    reach, hits = squid["verification"]["reach"], squid["hit_ratio"]
    return [
        squid["id"],
        squid["hostname"],
        place(squid["place"]),
        squid["state"] + (", draining" if squid["draining"] else ""),
        reach,
        _percent(squid["utilisation"], 1),
        None if hits is None else _percent(hits, 1),
        _ago(squid["seen"], now),
        "" if reach == "global" else squid["verification"]["reason"],
    ]


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("squid", metavar="ID", help="the squid's id, as `squids` and the status page show it")
    service.arguments(parser)


def _show(call: Call) -> Answer:
    server = Service.of(call)
    path = f"/api/v1/squids/{quote(call.args.squid, safe='/:[]')}"
    try:
        squid = server.get(path)
    except NotThere:
        return _record(server, path, call.args.squid)
    events = _events(server, path)
    text = facts(_detail(squid, call.now)) + _happened(events)
    return Answer({"squid": squid, "events": events}, text)


def _record(server: Service, path: str, squid: str) -> Answer:
    """Of a squid that is gone: what happened to it. Raises NotThere if nothing is known."""
    events = _events(server, path)
    if not events:
        raise NotThere(f"there is no squid {safe(squid)}, and no record of one")
    return Answer(
        {"squid": None, "events": events}, f"{safe(squid)} is not listed now.\n" + _happened(events)
    )


def _events(server: Service, path: str) -> list[Facts]:
    events: list[Facts] = server.get(f"{path}/events", limit=EVENTS)["events"]
    return events


def _happened(events: Sequence[Facts]) -> str:
    rows = [[_time(event["at"]), event["kind"], event["detail"]] for event in events]
    return f"\n{table(['when', 'what', 'detail'], rows)}" if rows else ""


def _detail(squid: Facts, now: float) -> Lines:
    check, owner = squid["verification"], squid["owner"]
    advertised = ((f"says {name}", _plain(value)) for name, value in sorted(squid["advertised"].items()))
    return [
        ("id", squid["id"]),
        ("hostname", squid["hostname"]),
        ("place", place(squid["place"])),
        ("owner", ", ".join(str(word) for word in owner.values() if word) or None),
        ("state", squid["state"] + (", draining" if squid["draining"] else "")),
        ("heard", _ago(squid["seen"], now)),
        ("alive since", _time(squid["created"])),
        ("checked", f"{check['reach']}: {check['reason']}"),
        ("last check", None if check["checked"] is None else _ago(check["checked"], now)),
        ("load", f"{_percent(squid['utilisation'], 1)}: {squid['load']} of {squid['max_load']} kB/s"),
        ("clock", _clock(squid["clock_skew"])),
        *((name, value) for name, value in advertised if value not in (None, "")),
    ]


def _plain(value: object) -> str | None:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items() if each is not None)
    return None if value in (None, "", []) else str(value)


def _counted(counts: Mapping[str, int]) -> str:
    """`3 alive, 1 dead`; what there is none of is left out."""
    return ", ".join(f"{count} {safe(name)}" for name, count in counts.items() if count)


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f}%" if whole else "-"


def _ago(then: float, now: float) -> str:
    return f"{duration(now - then)} ago"


def _clock(behind: float) -> str:
    return f"{duration(abs(behind))} {'ahead' if behind < 0 else 'behind'}"


def _time(then: float) -> str:
    return f"{datetime.fromtimestamp(then, UTC):%Y-%m-%d %H:%M:%S} UTC"


COMMANDS = {
    "status": Command(_status, service.arguments),
    "squids": Command(_squids, _squids_arguments),
    "show": Command(_show, _show_arguments),
}
