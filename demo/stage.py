"""How the story is told: numbered steps in plain text, and expectations that must come true in time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO, TypeVar

from demo.worker import ClientFailed
from testbed.process import Missing, StartError

T = TypeVar("T")
_POLL_SECONDS = 0.05
_BOLD, _DIM, _GREEN, _RED, _PLAIN = "\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m"


class StepFailed(Exception):  # noqa: N818
    """A step did not come true; the text names the step and what was missing."""


class Stage:
    """Tells on `out`, in colour if `colour`; each expectation has `within` seconds to come true."""

    def __init__(self, out: TextIO, *, colour: bool, within: float) -> None:
        self._out = out
        self._colour = colour
        self._within = within
        self._number = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step of the story; whatever goes wrong inside becomes StepFailed."""
        self._number += 1
        self.say(self._in(_BOLD, f"\n{self._number}. {title}"))
        try:
            yield
        except (Unfulfilled, Missing, StartError, ClientFailed, OSError) as error:
            raise StepFailed(f'step {self._number}, "{title}": {error}') from error

    def say(self, text: str = "", indent: int = 0) -> None:
        """One line or several, at once."""
        margin = "   " * indent
        lines = [f"{margin}{line}" if line else "" for line in text.split("\n")]
        print("\n".join(lines), file=self._out, flush=True)

    def change(self, name: str, before: str, after: str) -> None:
        """A setting's value before and after."""
        self.say(f"{name:<17}before  {before}", 2)
        marked = self._in(_DIM, f"{after}  (unchanged)") if before == after else self._in(_GREEN, after)
        self.say(f"{'':<17}after   {marked}", 2)

    def good(self, text: str) -> None:
        """Something that came true."""
        self.say(self._in(_GREEN, text), 1)

    def failed(self, text: str) -> None:
        """The end of a story that did not come true."""
        self.say(self._in(_RED, f"\nFAILED: {text}"))

    def expect(self, what: str, look: Callable[[], T | None]) -> T:
        """Look until there is something to be seen, and return it."""
        start = time.monotonic()
        while not (seen := look()):
            if time.monotonic() - start >= self._within:
                raise Unfulfilled(f"not within {self._within:g} s: {what}")
            time.sleep(_POLL_SECONDS)
        return seen

    def require(self, what: str, fulfilled: bool) -> None:
        """Something that has to be so now."""
        if not fulfilled:
            raise Unfulfilled(f"not so: {what}")

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colour else text


class Unfulfilled(Exception):  # noqa: N818
    """An expectation did not come true."""
