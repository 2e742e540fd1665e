"""`/status`: is the world well?"""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta, Struct

from shoal_common.version import VERSION
from shoal_server.reports import Report
from shoal_server.squid import Liveness, Reach, Squid
from shoal_server.web.api.operations import Call, Nothing, get
from shoal_server.web.api.shapes import Rate, State, Time
from shoal_server.web.headline import ACCEPTED, pulse


class Counts(Struct, frozen=True):
    """How many squids there are, by how recently they were heard, by reach, and how many are draining."""

    total: int
    by_state: dict[Liveness, int]
    by_reach: dict[Reach, int]
    draining: int


class Beats(Struct, frozen=True):
    """Heartbeats of all servers since each one's start; `refused` by the field that was wrong."""

    accepted: int
    refused: dict[str, int]
    per_second: Annotated[float, Meta(description="Of late, as far as the list tells.")]


class Process(Struct, frozen=True):
    """One of the processes that share the work: as it said at `at`.

    `late_seconds` is by how much it ran late at worst of late, `snapshot_seconds` the age of its list.
    """

    server: str
    at: Time
    connected: bool
    held: bool
    stale_seconds: float
    snapshot_seconds: float
    late_seconds: float

    @classmethod
    def of(cls, report: Report) -> "Process":
        stale, snapshot, late = report.stale_seconds, report.snapshot_seconds, report.late_seconds
        return cls(report.server, report.at, report.connected, report.held, stale, snapshot, late)


class Status(Struct, frozen=True, kw_only=True):
    """The headline: of the list as a whole, private squids included as numbers."""

    version: str
    state: State
    squids: Counts
    load: Rate
    max_load: Rate
    heartbeats: Beats
    intake: Annotated[bool, Meta(description="Whether heartbeats reach any server.")]
    hold: Annotated[bool, Meta(description="Whether expiry is held: improbably many squids fell silent.")]
    stale_since: Annotated[Time | None, Meta(description="Since when the store has been away, if it is.")]
    snapshot: Annotated[Time, Meta(description="When the list last changed.")]
    geoip_built: Annotated[Time | None, Meta(description="When the oldest GeoIP database in use was made.")]
    attributions: Annotated[list[str], Meta(description="What the licences of the databases demand.")]
    servers: Annotated[int, Meta(description="How many processes share the work.")]
    processes: Annotated[list[Process], Meta(description="Each of them; told to operators alone.")]


@get("/status")
def status(call: Call, asked: Nothing) -> Status:
    """Is the world well? Squids by state, heartbeats, and what the server lacks."""
    backend = call.backend
    squids = [listed.squid for listed in backend.keeper.current.listed]
    reports = backend.reporter.all
    outcomes = dict(backend.reporter.heartbeats)
    accepted = outcomes.pop(ACCEPTED, 0)
    return Status(
        version=VERSION,
        state=backend.state,
        squids=_counts(squids, call),
        load=round(sum(squid.load for squid in squids), 1),
        max_load=round(sum(squid.max_load for squid in squids)),
        heartbeats=Beats(accepted, outcomes, round(pulse(squids, call.now), 2)),
        intake=backend.reporter.connected,
        hold=backend.reporter.held,
        stale_since=backend.keeper.stale_since,
        snapshot=backend.keeper.current.made,
        geoip_built=backend.geoip_built(),
        attributions=list(backend.attributions()),
        servers=len(reports),
        processes=[Process.of(report) for report in reports] if call.operator else [],
    )


OPERATIONS = (status,)


def _counts(squids: Iterable[Squid], call: Call) -> Counts:
    rules = call.backend.liveness
    states = Counter(squid.liveness(call.now, rules) for squid in squids)
    reaches = Counter(squid.verification.reach for squid in squids)
    return Counts(
        sum(states.values()),
        {state: states[state] for state in Liveness},
        {reach: reaches[reach] for reach in Reach},
        sum(squid.draining for squid in squids),
    )
