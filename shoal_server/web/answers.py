"""The text of an answer, from parts that are worked out once: what a squid says, how far it is, who is first.

Most of an entry is the same whoever is told it; only its end, the distance, depends on the place of the
requester, and only the order on the requester himself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shoal_common.listing import distance_text, entry_start, joined
from shoal_server.board import Board, Seat, Wanted
from shoal_server.classic import RankBy
from shoal_server.lookup import Lookup, seat
from shoal_server.ranking import Requester
from shoal_server.squid import Listed
from shoal_server.web.legacy import listed_cache

EMPTY = joined([])
ANSWERS_BYTES, PLACE_BYTES, ORDER_BYTES, TEXT_BYTES = 2000, 200, 150, 700
"""What one of them takes, with its share of the tables that hold it and (a place) of the plan."""
_UNKNOWN: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What is asked."""

    wanted: Wanted
    count: int


class Texts:
    """All that is worked out on one board: answers, and the beginnings of its squids' entries.

    Of the board before is taken over what holds still. `size` is in bytes, about.
    """

    def __init__(self, lookup: Lookup, board: Board, before: "Texts | None" = None) -> None:
        self.lookup = lookup
        self.board = board
        self.size = 0
        self.known: dict[tuple[Question, Seat], Answers] = {}
        self.starts: dict[tuple[int, bool], bytes] = {}
        self.before = before
        if before:
            before.before = None

    def answers(self, question: Question, requester: Requester) -> "Answers":
        """The answers for all who are answered like the requester."""
        key = question, self.board.relevant(seat(requester))
        answers = self.known.get(key)
        if answers is None:
            before = self.before.known.get(key) if self.before else None
            answers = self.known[key] = Answers(self, requester, *key, before)
        return answers

    def start(self, row: int, local: bool, listed: Listed | None) -> bytes:
        """The beginning of a row's entry, as it is told to its own site or not; `listed` may be its squid."""
        start = self.starts.get((row, local))
        if start is None:
            start = self._kept(row, local)
            if start is None:
                start = entry_start(listed_cache(listed or self.board.listed[row], local=local))
            self.starts[row, local] = start
            self.size += TEXT_BYTES
        return start

    def _kept(self, row: int, local: bool) -> bytes | None:
        before = self.before
        if before is None or row >= len(before.board.listed):
            return None
        same = before.board.listed.packed[row] is self.board.listed.packed[row]
        return before.starts.get((row, local)) if same else None


class Answers:
    """The answers to one question for those who sit in one place, on one board."""

    __slots__ = ("_count", "_requester", "_sheet", "_starts", "ends", "local", "orders", "plan", "texts")

    def __init__(
        self, texts: Texts, requester: Requester, question: Question, place: Seat, before: "Answers | None"
    ) -> None:
        self.texts = texts
        self._requester = requester
        self.plan = plan = texts.board.plan(place, question.wanted, question.count)
        self._count = question.count
        self._sheet = _sheet(len(plan.told(0, question.count)))
        self._starts: list[bytes] = [_UNKNOWN] * len(plan.rows)
        self.ends: list[bytes] = [_UNKNOWN] * len(plan.rows)
        self.local = bytearray(len(plan.rows))
        self.orders: dict[int, Sequence[int]] = {}
        if before and plan.alike(before.plan):
            self.ends, self.local, self.orders = list(self._ends_of(before)), before.local, before.orders
        texts.size += ANSWERS_BYTES + PLACE_BYTES * len(plan.rows) + ORDER_BYTES * len(self.orders)

    def body(self, spot: int) -> bytes:
        """The text for the requesters of a spot."""
        order = self.orders.get(spot)
        if order is None:
            order = self._work_out(spot)
        starts, ends, parts = self._starts, self.ends, self._sheet[:]
        parts[1::3] = [starts[place] for place in order]
        parts[2::3] = [ends[place] for place in order]
        try:
            return b"".join(parts)
        except TypeError:  # one of them is not known yet: rarer, and cheaper, than to look each time
            self._fill(order)
        parts[1::3] = [starts[place] for place in order]
        parts[2::3] = [ends[place] for place in order]
        return b"".join(parts)

    def note(self, address: str, spot: int) -> None:
        """Somebody at an address who falls on a spot was answered, for the first time in a while."""
        self.texts.lookup.note(address, self.texts.board, self.plan, self.orders[spot])

    def _work_out(self, spot: int) -> Sequence[int]:
        order: Sequence[int] = self.plan.told(spot, self._count)
        order = bytes(order) if max(order, default=0) < 256 else tuple(order)
        self.orders[spot] = order
        self.texts.size += ORDER_BYTES
        return order

    def _fill(self, order: Sequence[int]) -> None:
        texts = self.texts
        for place in order:
            listed = None
            if self.ends[place] is _UNKNOWN:
                one = texts.lookup.terms(self._requester, texts.board, self.plan, place)
                listed = one.listed
                self.local[place] = one.local
                self.ends[place] = distance_text(one.effective_km)
            if self._starts[place] is _UNKNOWN:
                self._starts[place] = texts.start(self.plan.rows[place], bool(self.local[place]), listed)

    def _ends_of(self, before: "Answers") -> Iterator[bytes]:
        """Distances depend on what lasts of a squid, by the classic formula on its load too."""
        board, then = self.texts.board, before.texts.board.listed.packed
        lasting = board.rank_by is RankBy.DISTANCE
        for row, old, end in zip(self.plan.rows, before.plan.rows, before.ends, strict=True):
            now, was = board.listed.packed[row], then[old]
            same = end is not _UNKNOWN and (now is was or (lasting and now.stands_as(was)))
            yield end if same else _UNKNOWN


def _sheet(length: int) -> list[bytes]:
    """The text of `length` entries, with room for the beginning and the end of each."""
    if not length:
        return [EMPTY]
    marks = [f"#{number}#".encode() for number in range(length)]
    text = joined(marks)
    parts: list[bytes] = []
    for mark in marks:
        before, _, text = text.partition(mark)
        parts += [before, _UNKNOWN, _UNKNOWN]
    return [*parts, text]
