"""The text of an answer, from parts that are worked out once: what a squid says, how far it is, who is first.

Most of an entry is the same whoever is told it; only its end, the distance, depends on the place of the
requester, and only the order on the requester himself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shoal_common.listing import distance_text, entry_start, joined
from shoal_server.board import Board
from shoal_server.classic import RankBy
from shoal_server.lookup import Lookup, seat
from shoal_server.ranking import Requester
from shoal_server.seat import Seat, Wanted
from shoal_server.web.legacy import MOST, listed_cache
from shoal_server.web.orders import Orders

FORMS = {2 * number: joined([b"%b%b"] * number) for number in range(MOST + 1)}
"""The text around so many parts, two for each entry."""
MOST_PATHS = 1000
ANSWERS_BYTES, PLACE_BYTES, TEXT_BYTES, TOLD_BYTES = 2000, 60, 640, 300
"""What one of them takes, with its share of the tables that hold it and (a place) of the plan."""
_UNKNOWN: Any = None

Told = tuple[bytes, ...]
"""Of each squid, best first: the beginning and the end of its entry."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What is asked."""

    wanted: Wanted
    count: int


class Sheet:
    """A question on one board: what addresses have been `told` (those with a place that is known), and the
    answers by seat.
    """

    __slots__ = ("answers", "question", "told")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.told: dict[str, Told] = {}
        self.answers: dict[Seat, Answers] = {}


class Texts:
    """All that is worked out on one board: sheets, and the beginnings of its squids' entries.

    `sheets` are by the path of the question. Of the board before is taken over what holds still. `size` is in
    bytes, about.
    """

    def __init__(self, lookup: Lookup, board: Board, before: "Texts | None" = None) -> None:
        self.lookup = lookup
        self.board = board
        self.size = 0
        self.sheets: dict[str, Sheet] = {}
        self.by_question: dict[Question, Sheet] = {}
        self.starts: tuple[list[bytes], list[bytes]] = (
            [_UNKNOWN] * len(board.listed),
            [_UNKNOWN] * len(board.listed),
        )
        self.before = before
        if before:
            before.before = None
            before.forget_told()

    def sheet(self, question: Question) -> Sheet:
        """The sheet of a question, whatever its path is."""
        return self.by_question.get(question) or self.by_question.setdefault(question, Sheet(question))

    def keep(self, path: str, sheet: Sheet, address: str, told: "Told") -> None:
        """Remember what an address was told that asked by this path."""
        if path not in self.sheets and len(self.sheets) < MOST_PATHS:
            self.sheets[path] = sheet
        if address not in sheet.told:
            self.size += TOLD_BYTES
        sheet.told[address] = told

    def forget_told(self) -> None:
        """Forget what each address was told: by far the most of it all."""
        for sheet in self.by_question.values():
            self.size -= TOLD_BYTES * len(sheet.told)
            sheet.told = {}

    def answers(self, sheet: Sheet, requester: Requester) -> "Answers":
        """The answers for all who are answered like the requester, whose address must be no squid's."""
        place = self.board.relevant(seat(requester))
        answers = sheet.answers.get(place)
        if answers is None:
            old = self.before.by_question.get(sheet.question) if self.before else None
            before = old.answers.get(place) if old else None
            answers = sheet.answers[place] = Answers(self, requester, sheet.question, place, before)
        return answers

    def start(self, row: int, local: bool) -> bytes:
        """The beginning of a row's entry, as it is told to its own site or not."""
        starts = self.starts[local]
        start = starts[row]
        if start is _UNKNOWN:
            start = self._kept(row, local)
            if start is _UNKNOWN:
                start = entry_start(listed_cache(self.board.listed[row], local=local))
            starts[row] = start
            self.size += TEXT_BYTES
        return start

    def _kept(self, row: int, local: bool) -> bytes:
        before = self.before
        if before is None or row >= len(before.board.listed):
            return _UNKNOWN  # type: ignore[no-any-return]
        same = before.board.listed.packed[row] is self.board.listed.packed[row]
        return before.starts[local][row] if same else _UNKNOWN


class Answers:
    """The answers to one question for those who sit in one place, on one board."""

    __slots__ = (
        "_alike",
        "_requester",
        "_starts",
        "ends",
        "local",
        "orders",
        "plan",
        "texts",
    )

    def __init__(
        self, texts: Texts, requester: Requester, question: Question, place: Seat, before: "Answers | None"
    ) -> None:
        self.texts = texts
        self._requester = requester
        self.plan = plan = texts.board.plan(place, question.wanted, question.count)
        self._starts: list[bytes] = [_UNKNOWN] * len(plan.rows)
        self.ends: list[bytes] = [_UNKNOWN] * len(plan.rows)
        self.local = bytearray(len(plan.rows))
        self._alike: dict[tuple[int, int, int, bool], tuple[bytes, bool]] = {}
        self.orders = Orders(plan, question.count)
        if before and plan.alike(before.plan):
            self.ends, self.local = list(self._ends_of(before)), before.local
            self.orders = before.orders
        texts.size += ANSWERS_BYTES + PLACE_BYTES * len(plan.rows) + self.orders.size

    def order(self, spot: int) -> Sequence[int]:
        """Who is told to the requesters of a spot, best first, by their places in the plan."""
        before = self.orders.size
        order = self.orders.of(spot)
        self.texts.size += self.orders.size - before
        return order

    def told(self, order: Sequence[int]) -> Told:
        """The parts of the text for an order."""
        starts, ends = self._starts, self.ends
        parts = [part for place in order for part in (starts[place], ends[place])]
        if _UNKNOWN in parts:
            self._fill(order)
            parts = [part for place in order for part in (starts[place], ends[place])]
        return tuple(parts)

    def _fill(self, order: Sequence[int]) -> None:
        texts = self.texts
        for place in order:
            row = self.plan.rows[place]
            if self.ends[place] is _UNKNOWN:
                self.ends[place], self.local[place] = self._end(place, row)
            if self._starts[place] is _UNKNOWN:
                self._starts[place] = texts.start(row, bool(self.local[place]))

    def _end(self, place: int, row: int) -> tuple[bytes, bool]:
        """The end of an entry, and whether it is of a squid on the requester's own site."""
        texts, plan = self.texts, self.plan
        packed = texts.board.listed.packed[row]
        key = texts.board.bunch(row), id(packed.place), id(packed.owner), place >= plan.first_late
        known = self._alike.get(key)
        if known is None:
            one = texts.lookup.terms(self._requester, texts.board, plan, place)
            known = self._alike[key] = distance_text(one.effective_km), one.local
        return known

    def _ends_of(self, before: "Answers") -> Iterator[bytes]:
        """Distances depend on what lasts of a squid, by the classic formula on its load too."""
        board, then = self.texts.board, before.texts.board.listed.packed
        lasting = board.rank_by is RankBy.DISTANCE
        for row, old, end in zip(self.plan.rows, before.plan.rows, before.ends, strict=True):
            now, was = board.listed.packed[row], then[old]
            same = end is not _UNKNOWN and (now is was or (lasting and now.stands_as(was)))
            yield end if same else _UNKNOWN
