"""What was: load samples and events of each squid, and who was listed at any past minute.

The historian writes, pages and the API read. Samples are kept for a day at fine grain and for 30 days
at coarse grain; events for 30 days, and never more than the store's bound of them. Whatever comes and
goes, what is kept stays bounded: samples stand in rings that overwrite themselves.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from shoal_server.frames import Row, bucket_of, find, key_of
from shoal_server.registry import Event
from shoal_server.roll import OVERLAP_SECONDS, Presence, Roll
from shoal_server.squid import Reach

KEPT_SECONDS = 30 * 86_400.0
"""How long events, coarse samples and checkpoints are kept."""
CHECKPOINT_SECONDS = 12 * 3600.0
MOST_REPLAYED = 5_000
"""A checkpoint is also made after so many events, so that a past minute is cheap to work out."""
MOST_CHECKPOINTS = 120
MOST_PAGE = 500

_CURSOR = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")


class Grain(StrEnum):
    """How far apart samples lie."""

    FINE = "fine"
    COARSE = "coarse"

    @property
    def seconds(self) -> int:
        """The span of one sample: 5 minutes, 2 hours."""
        return 300 if self is Grain.FINE else 7200

    @property
    def kept(self) -> int:
        """How many spans are kept: a day of fine ones, 30 days of coarse ones."""
        return 288 if self is Grain.FINE else 360

    @property
    def ring(self) -> int:
        """How many places a ring has: the spans kept and the one that is being written."""
        return self.kept + 1

    def slot(self, at: float) -> int:
        """The number of the span that `at` lies in; spans begin at whole multiples of their length."""
        return int(at // self.seconds)


@dataclass(frozen=True, slots=True)
class Sample:
    """One squid over one span that began at `at` (seconds since 1970) and took `seconds`.

    `load` is the mean and `highest` the highest load (kB/s), `utilisation` the mean share of its
    capacity (1: full), `hit_ratio` the mean share of requests served from its cache (None: it does not
    say), `heard` how many heartbeats were heard; `reach` and `draining` are as at the span's end.
    """

    at: float
    seconds: int
    load: float
    highest: float
    utilisation: float
    hit_ratio: float | None
    heard: int
    reach: Reach
    draining: bool


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event and its place in the log; cursors look like `1700000000000-0` and grow."""

    cursor: str
    event: Event


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events. `next` is the cursor to ask on with (as `before`, or as `after` where that was asked).

    None: there are no more (as `after`: none yet; ask again with the cursor of before).
    """

    events: tuple[LoggedEvent, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How far history has been written: the last span of each grain, the last checkpoint (seconds since
    1970), and how many events were logged since. None: not yet."""

    fine: int | None = None
    coarse: int | None = None
    checkpoint: float | None = None
    fresh: int = 0

    def newest(self, grain: Grain) -> int | None:
        """The last span written."""
        return self.fine if grain is Grain.FINE else self.coarse

    def written(self, grain: Grain, slot: int) -> "Standing":
        """With that span as the last."""
        return replace(self, fine=slot) if grain is Grain.FINE else replace(self, coarse=slot)


class HistoryStore(Protocol):
    """Where history is kept; every method raises Unavailable, and soon, when it cannot be used now."""

    def standing(self) -> Standing:
        """How far history has been written."""

    def put_frames(self, grain: Grain, slot: int, frames: Mapping[int, bytes]) -> None:
        """Write one span's frames by bucket in the place of the span that is no longer kept."""

    def frames(self, grain: Grain, bucket: int) -> list[bytes]:
        """All frames of a bucket, in no order; some may be older than what is kept."""

    def put_checkpoint(self, at: float, body: bytes) -> None:
        """Keep a roll made at `at`; those older than KEPT_SECONDS and beyond MOST_CHECKPOINTS are dropped."""

    def checkpoint(self, at: float) -> bytes | None:
        """The newest roll that was made by then, unless events since it have been dropped."""

    def events(
        self, squid_id: str | None, *, before: str | None, after: str | None, limit: int
    ) -> list[LoggedEvent]:
        """Events of a squid or of all: the newest before `before`, newest first; or, with `after`, the
        first after it, oldest first."""

    def events_between(self, begin: float, end: float) -> list[Event]:
        """The events from `begin` to `end` (seconds since 1970), oldest first."""

    def tend(self, now: float) -> None:
        """Bring up to date what is derived from events, and drop events older than KEPT_SECONDS."""


class History:
    """What pages and the API read. Every method raises Unavailable when the store is away, within a second.

    None of them may be called for a lookup: they ask the store.
    """

    def __init__(self, store: HistoryStore, *, verify: bool = True) -> None:
        self._store = store
        self._verify = verify

    def samples(self, squid_id: str, grain: Grain, now: float) -> list[Sample]:
        """A squid's samples, oldest first; spans in which it was not listed are missing."""
        key, last = key_of(squid_id), grain.slot(now)
        found: list[Sample] = []
        for frame in self._store.frames(grain, bucket_of(squid_id)):
            slot, row = find(frame, key)
            if row and last - grain.kept <= slot <= last:  # a wrong clock may have written later ones
                found.append(_sample(slot, grain, row))
        return sorted(found, key=lambda sample: sample.at)

    def events(
        self,
        squid_id: str | None = None,
        *,
        before: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> EventPage:
        """A page of events of one squid, or of all.

        Newest first, from before the cursor `before` on; with `after`, oldest first, what came after
        it. Raises ValueError for a cursor that is none. `limit` is at most 500.
        """
        for cursor in (before, after):
            if cursor is not None and not is_cursor(cursor):
                raise ValueError("a cursor looks like 1700000000000-0")
        limit = max(1, min(limit, MOST_PAGE))
        found = self._store.events(squid_id, before=before, after=after, limit=limit + 1)
        page = tuple(found[:limit])
        return EventPage(page, page[-1].cursor if len(found) > limit else None)

    def listed_at(self, at: float) -> list[Presence] | None:
        """Who was listed at a past time (seconds since 1970), by id; None if that is not recorded."""
        roll = self.roll_at(at)
        return roll.present() if roll else None

    def roll_at(self, at: float) -> Roll | None:
        """The roll of the last checkpoint before, continued by the events up to `at`."""
        body = self._store.checkpoint(at)
        if body is None:
            return None
        roll = Roll.unpack(body)
        return roll.after(self._store.events_between(roll.at - OVERLAP_SECONDS, at), verify=self._verify)


def is_cursor(text: str) -> bool:
    """Whether the text can be a cursor of the event log."""
    return _CURSOR.fullmatch(text) is not None


def _sample(slot: int, grain: Grain, row: Row) -> Sample:
    return Sample(
        at=float(slot * grain.seconds),
        seconds=grain.seconds,
        load=row.load,
        highest=row.highest,
        utilisation=row.utilisation,
        hit_ratio=row.hit_ratio,
        heard=row.heard,
        reach=row.reach,
        draining=row.draining,
    )
