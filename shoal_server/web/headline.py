"""Whether the world is well, in one sentence and a handful of figures."""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shoal_server.squid import Squid
from shoal_server.web.backend import Backend
from shoal_server.web.rows import ORDER, SERVING, TROUBLED, Row, State
from shoal_server.web.words import rate, sites_own, span, squids, whole

PULSE_SECONDS = 10.0
"""Heartbeats are counted over this long; agents send one in 30 s, so few squids count twice."""
ACCEPTED = "accepted"
OLD_SECONDS = 60 * 86_400.0
"""Providers publish at least once a month; who updates has nothing older than two."""
MOST_NAMED = 3
"""So many of the squids that fail or are silent are named at once."""
MANY_TROUBLED = 0.1
MOST_TROUBLED = 0.5


class Mood(StrEnum):
    """How serious something is."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure of the headline."""

    title: str
    text: str
    note: str = ""
    mood: Mood | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """How many squids are in a state, and where its part of the bar begins (both in percent)."""

    state: State
    count: int
    begin: float
    length: float


@dataclass(frozen=True, slots=True)
class Headline:
    """`verdict` is one sentence, `notes` say what is wrong and what follows from it; the worst of the
    squids that fail or are silent are `troubled`.
    """

    mood: Mood
    verdict: str
    notes: Sequence[str]
    shares: Sequence[Share]
    troubled: Sequence[Row]
    facts: Sequence[Fact]

    @classmethod
    def of(cls, backend: Backend, rows: Sequence[Row], now: float, unseen: int = 0) -> "Headline":
        """Of the squids that the requester may know of; so many more are heard that he may not see."""
        counts = Counter(row.state for row in rows)
        notes = _notes(backend, now)
        mood, words = _verdict(counts, unseen, verify=backend.lookup.verify)
        if notes:
            lacking = not backend.reporter.connected or backend.keeper.stale_since is not None
            mood = Mood.BAD if lacking else max(mood, Mood.WARN, key=list(Mood).index)
        verdict = f"All is well: {words}" if mood is Mood.GOOD else words
        if backend.keeper.fills:
            notes.append("The list has just begun: squids may not have announced themselves yet.")
        troubled = heapq.nlargest(MOST_NAMED, _troubled(rows), key=lambda row: (ORDER[row.state], row.name))
        return cls(mood, verdict, notes, shares(counts), troubled, _facts(backend, rows, now))


def shares(counts: Mapping[State, int]) -> list[Share]:
    """The parts of a bar, in the order of the states."""
    total, begin, made = sum(counts.values()), 0.0, []
    for state in State:
        if number := counts.get(state, 0):
            length = 100 * number / total
            made.append(Share(state, number, round(begin, 3), round(length, 3)))
            begin += length
    return made


def pulse(heard_of: Iterable[Squid], now: float) -> float:
    """Heartbeats per second of late, as far as the list tells: it knows each squid's last one alone."""
    heard = 0.0
    for squid in heard_of:
        if 0 <= now - squid.seen < PULSE_SECONDS:
            heard += max(1.0, PULSE_SECONDS / (squid.beat.interval or PULSE_SECONDS))
    return heard / PULSE_SECONDS


def _troubled(rows: Iterable[Row]) -> Iterable[Row]:
    return (row for row in rows if row.state in TROUBLED)


def _verdict(counts: Mapping[State, int], unseen: int, *, verify: bool) -> tuple[Mood, str]:
    total = sum(counts.values())
    serving = sum(counts.get(state, 0) for state in (SERVING if verify else SERVING | {State.UNVERIFIED}))
    unsure = counts.get(State.UNCHECKABLE, 0) if verify else 0
    troubled = sum(counts.get(state, 0) for state in TROUBLED)
    if not total:
        but = f" but {squids(unseen)} {sites_own(unseen)}" if unseen else ""
        return Mood.WARN, f"No squid is heard{but}."
    words = f"{whole(serving)} of {squids(total)} {'serves' if total == 1 else 'serve'}"
    if unsure:
        words += f", {whole(unsure)} of which could not be checked"
    if troubled:
        words += f"; {whole(troubled)} {'fails or is' if troubled == 1 else 'fail or are'} silent"
    if not serving or troubled >= total * MOST_TROUBLED:
        return Mood.BAD, f"{words}."
    doubtful = max(troubled, unsure) > total * MANY_TROUBLED
    return (Mood.WARN if doubtful else Mood.GOOD), f"{words}."


def _notes(backend: Backend, now: float) -> list[str]:
    notes = []
    if not backend.reporter.connected:
        notes.append("Heartbeats do not reach this server at the moment, so no squid expires.")
    if (since := backend.keeper.stale_since) is not None:
        known = "what is shown and told is the last that was known"
        notes.append(f"The store has not answered for {span(now - since)}: {known}.")
    if backend.reporter.held:
        notes.append(
            "Expiry is held: improbably many squids fell silent together. "
            "Workers are still told of them, while each is tried directly."
        )
    return notes


def _facts(backend: Backend, rows: Sequence[Row], now: float) -> list[Fact]:
    reporter, stale = backend.reporter, backend.keeper.stale_since
    outcomes = reporter.heartbeats
    refused = sum(number for outcome, number in outcomes.items() if outcome != ACCEPTED)
    taken = f"{whole(outcomes.get(ACCEPTED, 0))} taken" + (f", {whole(refused)} refused" if refused else "")
    load, capacity = sum(row.squid.load for row in rows), sum(row.squid.max_load for row in rows)
    return [
        Fact("Load", rate(load), f"of {rate(capacity)}"),
        Fact("Heartbeats", f"{pulse((row.squid for row in rows), now):.1f} /s", taken),
        _either("Intake", reporter.connected, "connected", "away"),
        _either("Store", stale is None, "working", "away", f"for {span(now - (stale or now))}"),
        _geoip(backend, now),
        _either("Expiry", not reporter.held, "normal", "held"),
    ]


def _either(title: str, well: bool, good: str, bad: str, note: str = "") -> Fact:
    return Fact(title, good, mood=Mood.GOOD) if well else Fact(title, bad, note, Mood.BAD)


def _geoip(backend: Backend, now: float) -> Fact:
    """How old the oldest database is: addresses move, and so do the licences' terms for old files."""
    built = backend.geoip_built()
    if built is None:
        return Fact("GeoIP", "no database")
    age = now - built
    return Fact("GeoIP", f"{span(age)} old", mood=Mood.WARN if age > OLD_SECONDS else Mood.GOOD)
