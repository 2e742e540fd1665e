"""The text of an answer, from parts that are worked out once: what a squid says, how far it is, who is first.

Most of an entry is the same whoever is told it; only its end, the distance, depends on the place of the
requester, and only the order on the requester himself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from shoal_common.listing import distance_text, entry_start, joined
from shoal_server.board import Board
from shoal_server.lookup import Lookup, seat
from shoal_server.ranking import Requester
from shoal_server.seat import Seat, Wanted
from shoal_server.squid import Owner, Place
from shoal_server.web.legacy import listed_cache
from shoal_server.web.orders import Orders

MOST_PATHS = 1000
ANSWERS_BYTES, PLACE_BYTES, FORM_BYTES, TEXT_BYTES, TOLD_BYTES = 2000, 50, 400, 640, 350
"""What one of them takes, with its share of the tables that hold it and (a place) of the plan."""
_UNKNOWN: Any = None

Pick = Callable[[Sequence[Any]], tuple[Any, ...]]
Told = tuple[bytes, Pick]
"""The text without the beginnings of its entries, and what picks these from `Texts.starts`."""
_End = tuple[bytes, bool, Place | None, Owner]
"""With what its key is the identity of, so that nothing else gets it."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked."""

    wanted: Wanted
    count: int


class Sheet:
    """A question: what addresses have been `told` (those with a place that is known), and the answers by
    seat.
    """

    __slots__ = ("answers", "question", "told")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.told: dict[str, Told] = {}
        self.answers: dict[Seat, Answers] = {}


class Sheets:
    """What was answered, as long as boards tell everybody the same squids in the same order.

    `by_path` are those that were asked for by a path. `worked_out` is what all takes but what addresses were
    told (bytes), about.
    """

    def __init__(self) -> None:
        self.by_path: dict[str, Sheet] = {}
        self._by_question: dict[Question, Sheet] = {}
        self.worked_out = 0

    @property
    def size(self) -> int:
        """In bytes, about."""
        return self.worked_out + TOLD_BYTES * sum(len(sheet.told) for sheet in self._all())

    def of(self, question: Question) -> Sheet:
        """The sheet of a question, whatever its path is."""
        return self._by_question.get(question) or self._by_question.setdefault(question, Sheet(question))

    def at(self, path: str, question: Question) -> Sheet:
        """The sheet of a question that was asked by a path."""
        sheet = self.of(question)
        if len(self.by_path) < MOST_PATHS:
            self.by_path[path] = sheet
        return sheet

    def forget_told(self) -> None:
        """Forget what each address was told: by far the most of it all."""
        for sheet in self._all():
            sheet.told = {}

    def _all(self) -> list[Sheet]:
        return list(self._by_question.values())


class Texts:
    """All that is worked out on one board: its sheets, and the beginnings of its squids' entries.

    Of the board before is taken over what holds still. `size` is in bytes, about.
    """

    def __init__(self, lookup: Lookup, board: Board, before: "Texts | None" = None) -> None:
        self.lookup = lookup
        self.board = board
        self.starts: list[bytes] = [_UNKNOWN] * (2 * len(board.listed))
        """The beginning of each row's entry, as it is told elsewhere and as it is told to its own site."""
        self._keys = range(len(self.starts))
        self._started = 0
        self.before = before
        self.holds = before is not None and board.tells_like(before.board)
        """Whether all that was told before is told still, but for what the squids say of themselves."""
        self.sheets: Sheets = before.sheets if before and self.holds else Sheets()
        if before:
            before.before = None
            if not self.holds:
                before.sheets.forget_told()

    @property
    def size(self) -> int:
        return self.sheets.size + TEXT_BYTES * self._started

    def body(self, told: Told) -> bytes:
        """The text of an answer."""
        form, pick = told
        try:
            return form % pick(self.starts)
        except TypeError:  # one of them is not known yet: rarer, and cheaper, than to look each time
            return form % tuple(map(self._start, pick(self._keys)))

    def answers(self, sheet: Sheet, requester: Requester) -> "Answers":
        """The answers for all who are answered like the requester, whose address must be no squid's."""
        place = self.board.relevant(seat(requester))
        answers = sheet.answers.get(place)
        if answers is None:
            before = self.before.sheets.of(sheet.question).answers.get(place) if self.before else None
            answers = sheet.answers[place] = Answers(self, requester, sheet.question, place, before)
        return answers

    def _start(self, key: int) -> bytes:
        """The beginning of a row's entry, up to the distance."""
        start = self.starts[key]
        if start is _UNKNOWN:
            row, local = divmod(key, 2)
            start = self._kept(row, key)
            if start is _UNKNOWN:
                start = entry_start(listed_cache(self.board.listed[row], local=bool(local)))
            self.starts[key] = start
            self._started += 1
        return start

    def _kept(self, row: int, key: int) -> bytes:
        before = self.before
        if before is None or row >= len(before.board.listed):
            return _UNKNOWN  # type: ignore[no-any-return]
        same = before.board.listed.packed[row] is self.board.listed.packed[row]
        return before.starts[key] if same else _UNKNOWN


class Answers:
    """The answers to one question for those who sit in one place."""

    __slots__ = ("_alike", "_ends", "_forms", "_keys", "_requester", "_sheets", "orders", "plan")

    def __init__(
        self, texts: Texts, requester: Requester, question: Question, place: Seat, before: "Answers | None"
    ) -> None:
        self._sheets = texts.sheets
        self._requester = requester
        self.plan = plan = texts.board.plan(place, question.wanted, question.count)
        self._ends: list[bytes] = [_UNKNOWN] * len(plan.rows)
        self._keys: list[int] = [_UNKNOWN] * len(plan.rows)
        self._alike: dict[tuple[int, int, int, bool], _End] = {}
        self._forms: dict[tuple[bytes, ...], bytes] = {}
        self.orders: Orders = (
            before.orders if before and plan.alike(before.plan) else Orders(plan, question.count)
        )
        self._sheets.worked_out += ANSWERS_BYTES + PLACE_BYTES * len(plan.rows) + self.orders.size

    def order(self, spot: int) -> Sequence[int]:
        """Who is told to the requesters of a spot, best first, by their places in the plan."""
        before = self.orders.size
        order = self.orders.of(spot)
        self._sheets.worked_out += self.orders.size - before
        return order

    def told(self, texts: Texts, order: Sequence[int]) -> Told:
        """What is told for an order."""
        for place in order:
            if self._keys[place] is _UNKNOWN:
                self._ends[place], local = self._end(texts, place)
                self._keys[place] = 2 * self.plan.rows[place] + local
        ends = tuple([self._ends[place] for place in order])
        return self._forms.get(ends) or self._form(ends), _picker([self._keys[place] for place in order])

    def _form(self, ends: tuple[bytes, ...]) -> bytes:
        form = self._forms[ends] = joined([b"%b" + end for end in ends])
        self._sheets.worked_out += FORM_BYTES
        return form

    def _end(self, texts: Texts, place: int) -> tuple[bytes, bool]:
        """The end of an entry, and whether it is of a squid on the requester's own site."""
        board, plan = texts.board, self.plan
        row = plan.rows[place]
        packed = board.listed.packed[row]
        key = board.bunch(row), id(packed.place), id(packed.owner), place >= plan.first_late
        known = self._alike.get(key)
        if known is None:
            one = texts.lookup.terms(self._requester, board, plan, place)
            known = self._alike[key] = distance_text(one.effective_km), one.local, packed.place, packed.owner
        return known[:2]


def _picker(keys: Sequence[int]) -> Pick:
    """What picks these of a sequence, as a tuple."""
    if len(keys) > 1:
        return itemgetter(*keys)
    return lambda starts: tuple([starts[key] for key in keys])
