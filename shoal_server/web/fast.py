"""`/nearest` and its kin, answered in front of the framework.

Thousands of workers ask the same few questions from a few hundred places, and the framework alone costs
several times what an answer does. So the plain form of these questions is answered here from what was
worked out before; everything else, and every doubt, goes on to the framework, which gives the same text.

What is remembered: for each address its seat; for each question, seat and board the plan, the text of each
squid told, and the order for each spot. All of it is bounded, and a new board begins anew.
"""

import itertools
import re
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from shoal_common.listing import entry_text, joined
from shoal_server.board import Board, Seat, Wanted
from shoal_server.lookup import Lookup, seat
from shoal_server.ranking import Requester
from shoal_server.rendezvous import SPOTS, spot
from shoal_server.web.backend import Backend, forwarded_for
from shoal_server.web.counts import Kind, Outcome
from shoal_server.web.legacy import DEFAULT_COUNT, MOST, SERVICES, listed_cache

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATH = re.compile(r"/(nearest(?:verified|cvmfs|conditions)?)(?:/?([0-9]{1,9}))?/?", re.ASCII)
MOST_PATHS = 1000
MOST_VISITORS = 200_000
MOST_ANSWERS = 5_000
STATE_SECONDS = 0.5
VISITOR_SECONDS = 60.0
"""How long an address keeps its seat: its owner's name may be found out only after its first question."""
_UNSET = 255
EMPTY = joined([])
_JSON = ("Content-Type", "application/json")
_KM = ("X-Shoal-Distance", "km")


class _Question:
    """What is asked, and the answers to it by number of the seat."""

    __slots__ = ("answers", "count", "wanted")

    def __init__(self, wanted: Wanted, count: int) -> None:
        self.wanted = wanted
        self.count = count
        self.answers: dict[int, _Answers] = {}


class _Visitor:
    """Who asks from an address, the number of the seat, and the spot that the address falls on."""

    __slots__ = ("address", "number", "outcome", "requester", "seat", "spot")

    def __init__(self, requester: Requester, place: Seat, number: int) -> None:
        self.requester = requester
        self.address = requester.address
        self.seat = place
        self.number = number
        self.spot = spot(requester.address)
        self.outcome = Outcome.TOLD if requester.place else Outcome.UNKNOWN_PLACE


class _Answers:
    """The answers to one question for one seat on one board.

    Orders and texts that the answers on an earlier board have worked out are kept if they hold still.
    """

    __slots__ = ("_length", "_lookup", "_requester", "_sheet", "board", "orders", "plan", "texts")

    def __init__(
        self, lookup: Lookup, board: Board, visitor: _Visitor, question: _Question, old: "_Answers | None"
    ) -> None:
        self.board = board
        self._lookup = lookup
        self._requester = visitor.requester
        self.plan = board.plan(visitor.seat, question.wanted, question.count)
        self._length = len(self.plan.told(0, question.count))
        self._sheet = _sheet(self._length)
        if old and self.plan.alike(old.plan):
            self.orders: bytearray = bytearray(old.orders)  # before the texts that they need
            self.texts: list[bytes] = [
                text and self._text(place, old) for place, text in enumerate(old.texts)
            ]
        else:
            self.orders = bytearray([_UNSET]) * (SPOTS * self._length)
            self.texts = [b""] * len(self.plan.rows)

    def body(self, number: int) -> bytes:
        """The text for the requesters of a spot."""
        length = self._length
        if not length:
            return EMPTY
        order: Sequence[int] = self.orders[number * length : number * length + length]
        if order[0] == _UNSET:
            order = self._work_out(number)
        texts = self.texts
        parts = self._sheet[:]
        parts[1::2] = [texts[place] for place in order]
        return b"".join(parts)

    def _work_out(self, number: int) -> list[int]:
        order = self.plan.told(number, self._length)
        for place in order:
            self.texts[place] = self.texts[place] or self._text(place, None)
        if max(order) < _UNSET:
            first = number * self._length
            self.orders[first : first + self._length] = bytes(order)
        return order

    def _text(self, place: int, old: "_Answers | None") -> bytes:
        row = self.plan.rows[place]
        if old and self.board.listed[row] is old.board.listed[old.plan.rows[place]]:
            return old.texts[place]
        one = self._lookup.terms(self._requester, self.board, row, self.plan.numbers[place])
        return entry_text(listed_cache(one.listed, local=one.local, ranked=one))


def _sheet(length: int) -> list[bytes]:
    """The text of an answer with room for its entries between the parts that are always the same."""
    marks = [f"#{number}#".encode() for number in range(length)]
    text = joined(marks)
    parts: list[bytes] = []
    for mark in marks:
        before, _, text = text.partition(mark)
        parts += [before, mark]
    return [*parts, text]


class FastPath:
    """The WSGI application in front of `framework`; what it remembers may be forgotten at any moment."""

    def __init__(self, framework: "WSGIApplication", backend: Backend) -> None:
        self._framework = framework
        self._backend = backend
        self._lookup = backend.lookup
        self._trusted = backend.trusted_proxies
        self._paths: dict[str, _Question | None] = {}
        self._questions: dict[tuple[str, int], _Question] = {}
        self._visitors: dict[str, _Visitor] = {}
        self._seats: dict[Seat, tuple[Seat, int]] = {}
        self._visitors_until = 0.0
        self._generation = -1
        self._numbers = itertools.count()
        self._answers = 0
        self._state, self._until = ("X-Shoal-State", ""), 0.0

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        question = self._question(environ["PATH_INFO"]) if method in ("GET", "HEAD") else None
        if question is None:
            return self._framework(environ, start_response)
        began = time.perf_counter()
        board = self._lookup.board
        if began > self._until:
            self._renew(began)
        visitor = self._visitor(environ)
        if board.hosts(visitor.address) or (environ.get("QUERY_STRING") and not board.nobody_drains):
            return self._framework(environ, start_response)
        answers = question.answers.get(visitor.number)
        if answers is None or answers.board is not board:
            answers = self._work_out(question, board, visitor)
        body = answers.body(visitor.spot)
        headers = [_JSON, ("Content-Length", str(len(body))), _KM, self._state]
        outcome = visitor.outcome if body is not EMPTY else Outcome.EMPTY
        self._backend.counts.count(Kind.NEAREST, outcome, time.perf_counter() - began)
        start_response("200 OK", headers)
        return [body] if method == "GET" else []

    def _question(self, path: str) -> _Question | None:
        try:
            return self._paths[path]
        except KeyError:
            question = self._read(path)
        if len(self._paths) < MOST_PATHS:
            self._paths[path] = question
        return question

    def _read(self, path: str) -> _Question | None:
        found = PATH.fullmatch(path)
        if not found:
            return None
        count = DEFAULT_COUNT if found[2] is None else min(int(found[2]), MOST)
        service, types = SERVICES[found[1]]
        return self._questions.setdefault(
            (found[1], count), _Question(Wanted(service, types, ipv4=True), count)
        )

    def _work_out(self, question: _Question, board: Board, visitor: _Visitor) -> _Answers:
        if self._answers >= MOST_ANSWERS:
            self._clear()
        old = question.answers.get(visitor.number)
        answers = _Answers(self._lookup, board, visitor, question, old)
        question.answers[visitor.number] = answers
        self._answers += old is None
        return answers

    def _visitor(self, environ: "WSGIEnvironment") -> _Visitor:
        name: str = environ["REMOTE_ADDR"]
        hops: str = environ.get("HTTP_X_FORWARDED_FOR", "") if self._trusted else ""
        visitor = self._visitors.get(f"{name} {hops}" if hops else name)
        return visitor or self._welcome(name, hops)

    def _welcome(self, name: str, hops: str) -> _Visitor:
        if len(self._visitors) >= MOST_VISITORS:
            self._clear()
        requester = self._lookup.requester(forwarded_for(name, hops, self._trusted))
        place = seat(requester)
        place, number = self._seats.setdefault(place, (place, next(self._numbers)))
        visitor = _Visitor(requester, place, number)
        self._visitors[f"{name} {hops}" if hops else name] = visitor
        return visitor

    def _renew(self, now: float) -> None:
        """Notice what time has changed."""
        self._state, self._until = ("X-Shoal-State", self._backend.state), now + STATE_SECONDS
        if self._lookup.generation != self._generation or now > self._visitors_until:
            self._generation, self._visitors_until = self._lookup.generation, now + VISITOR_SECONDS
            self._visitors = {}

    def _clear(self) -> None:
        """The numbers of seats are never given again, so that who comes too late spoils nothing."""
        self._visitors, self._seats = {}, {}
        for question in self._questions.values():
            question.answers = {}
        self._answers = 0
