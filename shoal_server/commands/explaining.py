"""`explain`: the answer that a worker at an address gets, and how it came about."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from shoal_common.heartbeat import Upstream
from shoal_server.commands import service
from shoal_server.commands.command import Answer, Call, Command
from shoal_server.commands.plain import Cell, safe, table
from shoal_server.commands.service import Service

COUNT = 10


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="an IPv4 or IPv6 address")
    parser.add_argument(
        "--for",
        dest="service",
        choices=[upstream.value for upstream in Upstream],
        default=Upstream.BOTH.value,
        help="what the worker needs (default both)",
    )
    parser.add_argument("--count", type=int, default=COUNT, metavar="N", help=f"how many (default {COUNT})")
    service.arguments(parser)


def _explain(call: Call) -> Answer:
    found = Service.of(call).get(
        "/api/v1/nearest",
        address=call.args.address,
        service=call.args.service,
        count=call.args.count,
        explain="yes",
    )
    return Answer(found, _text(found))


def _text(found: Mapping[str, Any]) -> str:
    requester = found["requester"]
    told = [(number, one) for number, group in enumerate(found["groups"], start=1) for one in group]
    where = requester.get("unplaced") or place(requester["place"])
    asked = f"{safe(requester['address'])} ({safe(where)}; service: {safe(found['service'])})"
    return _told(asked, told) + _left_out(found) + _further(found.get("further", 0)) + _state(found["state"])


def _told(asked: str, told: Sequence[tuple[int, Mapping[str, Any]]]) -> str:
    if not told:
        return f"A worker at {asked} is told of no squid.\n"
    terms = list(told[0][1]["terms"])
    head = ["group", "squid", "hostname", "relation", "used", "share", "effective km"]
    head += ["= " + terms[0].removesuffix("_km"), *("+ " + term.removesuffix("_km") for term in terms[1:])]
    rows: list[list[Cell]] = [
        [group, one["id"], one["hostname"], one["relation"]]
        + [f"{100 * one[part]:.0f} %" for part in ("utilisation", "share")]
        + [one["effective_km"]]
        + [one["terms"].get(term) for term in terms]
        for group, one in told
    ]
    return f"A worker at {asked} is told, best first:\n\n" + table(head, rows)


def _left_out(found: Mapping[str, Any]) -> str:
    excluded = found.get("excluded", [])
    if not excluded:
        return ""
    rows = [[one["id"], one["hostname"], one["reason"]] for one in excluded]
    total = found.get("excluded_total", len(rows))
    which = f"these, the nearest of {total} that will not do" if total > len(rows) else "these"
    return f"\nand not of {which}:\n\n" + table(["squid", "hostname", "reason"], rows)


def _further(number: int) -> str:
    come = "comes" if number == 1 else "come"
    return f"\n{number} more would do, but {come} after those that it is told of.\n" if number else ""


def _state(state: str) -> str:
    return "" if state == "ok" else f"\nThe server is {safe(state)}: its answers may lack something.\n"


def place(known: Mapping[str, Any] | None) -> str:
    """A place in a few words, the operator's name for it first."""
    if known is None:
        return "nobody knows where"
    words = [known.get("site"), known.get("city"), known.get("country_code")]
    where = ", ".join(safe(word) for word in words if word)
    return where or f"{known['latitude']:.2f}, {known['longitude']:.2f}"


COMMANDS = {"explain": Command(_explain, _arguments)}
