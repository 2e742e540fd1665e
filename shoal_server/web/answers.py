"""The text of an answer, joined from pieces that are worked out once and serve many answers.

An entry begins with what no other squid says, the same whoever is told of it; it ends with what squids of
one kind and place have in common for those who sit in one place: the distance above all. Only which pieces
they are, and in which order, depends on the requester himself.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from shoal_common.listing import entry_own, entry_shared
from shoal_server.board import Board
from shoal_server.lookup import Lookup, seat
from shoal_server.ranking import Requester
from shoal_server.seat import Seat, Wanted
from shoal_server.squid import Owner, Place
from shoal_server.web.legacy import listed_cache
from shoal_server.web.orders import Orders

MOST_PATHS = 1000
ANSWERS_BYTES, POSITION_BYTES, OWN_BYTES, ALIKE_BYTES, END_BYTES = 2500, 18, 270, 650, 150
"""What one of them takes, with its share of the tables that hold it; of the last two besides their texts."""
TOLD_BYTES, ENTRY_BYTES = 240, 16
"""What it takes to keep what an address was told, besides and for each squid."""
_UNKNOWN: Any = None
_BEGIN, _NULL, _NOTHING = range(3)
_ENDS = (b'{"0": ', b"null", b"")
"""The first of the ends. An answer has two pieces at least, so that picking them makes a tuple."""
_ALL_KEYS = range(1 << 40)

Pick = Callable[[Sequence[Any]], tuple[Any, ...]]
"""Picks the pieces of an answer from all of them, in its order."""


@dataclass(frozen=True, slots=True)
class ListQuestion:
    """What a list is asked for."""

    wanted: Wanted
    count: int


class Sheet:
    """A question: what addresses have been `told` (those with a place that is known), of so many squids at
    most, and the answers by seat.
    """

    __slots__ = ("answers", "most", "question", "told")

    def __init__(self, question: ListQuestion, most: int) -> None:
        self.question = question
        self.most = most
        self.told: dict[str, Pick] = {}
        self.answers: dict[Seat, Answers] = {}

    @property
    def told_size(self) -> int:
        """What it takes (bytes), about, to know what addresses were told."""
        return len(self.told) * (TOLD_BYTES + ENTRY_BYTES * self.most)


class Sheets:
    """What was answered, as long as boards tell everybody the same squids in the same order.

    `by_path` are those that were asked for by a path. `ends` are the pieces that are no row's own, from the
    number `first_end` on; there are two for each row before. `worked_out` is what all takes but what
    addresses were told (bytes), about.
    """

    def __init__(self, rows: int) -> None:
        self.by_path: dict[str, Sheet] = {}
        self._by_question: dict[ListQuestion, Sheet] = {}
        self.first_end = 2 * rows
        self.begin, self.null = self.first_end + _BEGIN, (self.first_end + _NULL, self.first_end + _NOTHING)
        """What every answer begins with, or consists of where there is no squid."""
        self.ends = list(_ENDS)
        self._adding = threading.Lock()
        self.worked_out = 0

    @property
    def size(self) -> int:
        """In bytes, about."""
        return self.worked_out + sum(sheet.told_size for sheet in self._all())

    def of(self, question: ListQuestion) -> Sheet:
        """The sheet of a question, whatever its path is."""
        found = self._by_question.get(question)
        return found or self._by_question.setdefault(question, Sheet(question, self._most(question)))

    def at(self, path: str, question: ListQuestion) -> Sheet:
        """The sheet of a question that was asked by a path."""
        sheet = self.of(question)
        if len(self.by_path) < MOST_PATHS:
            self.by_path[path] = sheet
        return sheet

    def add_end(self, text: bytes) -> int:
        """A piece that ends an entry; returns its number."""
        with self._adding:
            self.ends.append(text)
            self.worked_out += END_BYTES + len(text)
            return self.first_end + len(self.ends) - 1

    def forget_told(self) -> None:
        """Forget what each address was told: by far the most of it all."""
        for sheet in self._all():
            sheet.told = {}

    def _most(self, question: ListQuestion) -> int:
        return min(question.count, self.first_end // 2)

    def _all(self) -> list[Sheet]:
        return list(self._by_question.values())


class Texts:
    """All that is worked out on one board: its sheets, and the pieces of which answers are joined.

    Of the board before is taken over what holds still. `size` is in bytes, about.
    """

    UNKNOWN_PIECE = (TypeError, IndexError)
    """What joining pieces raises if one is not known yet: rarer, and cheaper, than to look each time."""

    def __init__(self, lookup: Lookup, board: Board, before: "Texts | None" = None) -> None:
        self.lookup = lookup
        self.board = board
        self.before = before
        self.holds = before is not None and board.tells_like(before.board)
        """Whether all that was told before is told still, but for what the squids say of themselves."""
        rows = len(board.listed)
        self.sheets: Sheets = before.sheets if before and self.holds else Sheets(rows)
        self.pieces: list[bytes] = [_UNKNOWN] * (2 * rows) + self.sheets.ends
        """Each row's own as it is told elsewhere and as it is told to its own site; then the sheets' ends."""
        self._adding = threading.Lock()
        self.written = 0
        if before:
            before.before = None
            if not self.holds:
                before.sheets.forget_told()

    @property
    def size(self) -> int:
        size = self.sheets.size + OWN_BYTES * self.written
        if before := self.before:
            size += OWN_BYTES * before.written + (0 if self.holds else before.sheets.worked_out)
        return size

    def body(self, pick: Pick) -> bytes:
        """The text of an answer, whose pieces may not all be known yet."""
        return b"".join(map(self._piece, pick(_ALL_KEYS)))

    def answers(self, sheet: Sheet, requester: Requester) -> "Answers":
        """The answers for all who are answered like the requester, whose address must be no squid's."""
        theirs = self.board.relevant(seat(requester))
        answers = sheet.answers.get(theirs)
        if answers is None:
            before = self.before.sheets.of(sheet.question).answers.get(theirs) if self.before else None
            answers = sheet.answers[theirs] = Answers(self, requester, sheet.question, theirs, before)
        return answers

    def _piece(self, key: int) -> bytes:
        if key >= len(self.pieces):
            with self._adding:
                self.pieces += self.sheets.ends[len(self.pieces) - self.sheets.first_end :]
        piece = self.pieces[key]
        if piece is _UNKNOWN:
            row, local = divmod(key, 2)
            piece = self._kept(row, key)
            if piece is _UNKNOWN:
                piece = entry_own(listed_cache(self.board.listed[row], local=bool(local)))
            other = self.pieces[key ^ 1]
            if other == piece:  # it has no inside address: one object serves for both
                piece = other
            else:
                self.written += 1
            self.pieces[key] = piece
        return piece

    def _kept(self, row: int, key: int) -> bytes:
        before = self.before
        if before is None or row >= len(before.board.listed):
            return _UNKNOWN  # type: ignore[no-any-return]
        same = before.board.listed.packed[row] is self.board.listed.packed[row]
        return before.pieces[key] if same else _UNKNOWN


@dataclass(slots=True)
class _Alike:
    """Squids whose entries end alike for those who sit in one place: how, and whether they are on their site.

    `numbers` are the pieces by what follows, the number of the next entry. It keeps what its key is the
    identity of, so that nothing else gets that.
    """

    end: bytes
    local: bool
    where: tuple[Place | None, Owner]
    numbers: dict[int, int] = field(default_factory=dict)


class Answers:
    """The answers to one question for those who sit in one place."""

    __slots__ = ("_alike", "_kinds", "_own", "_requester", "orders", "plan")

    def __init__(
        self, texts: Texts, requester: Requester, question: ListQuestion, seat: Seat, before: "Answers | None"
    ) -> None:
        self._requester = requester
        self.plan = plan = texts.board.plan(seat, question.wanted, question.count)
        self._alike: list[_Alike] = [_UNKNOWN] * len(plan.rows)
        self._own: list[int] = [_UNKNOWN] * len(plan.rows)
        """The pieces with which entries begin, by position: one object each for all who are told."""
        self._kinds: dict[tuple[int, int, int, bytes, bool], _Alike] = {}
        self.orders: Orders = (
            before.orders if before and plan.alike(before.plan) else Orders(plan, question.count)
        )
        size = ANSWERS_BYTES + POSITION_BYTES * len(plan.rows) + plan.size + self.orders.size
        texts.sheets.worked_out += size

    def order(self, texts: Texts, spot: int) -> Sequence[int]:
        """Who is told to the requesters of a spot, best first, by their positions in the plan."""
        before = self.orders.size
        order = self.orders.of(spot)
        texts.sheets.worked_out += self.orders.size - before
        return order

    def told(self, texts: Texts, order: Sequence[int]) -> Pick:
        """What is told for an order."""
        if not order:
            return itemgetter(*texts.sheets.null)
        keys = [texts.sheets.begin]
        for number, position in enumerate(order, 1):
            alike = self._alike[position]
            if alike is _UNKNOWN:
                alike = self._look(texts, position)
            following = number if number < len(order) else 0
            keys += self._own[position], alike.numbers.get(following) or _end(texts, alike, following)
        return itemgetter(*keys)

    def _look(self, texts: Texts, position: int) -> _Alike:
        """How the entry at a position of the plan ends, and what it begins with."""
        board, plan = texts.board, self.plan
        row = plan.rows[position]
        packed = board.listed.packed[row]
        late = position >= plan.first_late
        key = board.bunch(row), id(packed.place), id(packed.owner), packed.kind, late
        alike = self._kinds.get(key)
        if alike is None:
            one = texts.lookup.terms(self._requester, board, plan, position)
            end = entry_shared(listed_cache(one.listed, local=one.local, ranked=one))
            alike = self._kinds[key] = _Alike(end, one.local, (packed.place, packed.owner))
            texts.sheets.worked_out += ALIKE_BYTES + len(end)
        self._own[position] = 2 * row + alike.local
        self._alike[position] = alike
        return alike


def _end(texts: Texts, alike: _Alike, following: int) -> int:
    """The piece that ends such an entry before the number of the next one; 0: there is none."""
    text = alike.end + (b', "%d": ' % following if following else b"}")
    return alike.numbers.setdefault(following, texts.sheets.add_end(text))
