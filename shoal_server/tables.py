"""Files that an operator writes: their text, rows by column, and all of their mistakes at once by line.

A table is CSV (RFC 4180) in UTF-8 with a header line; lines that begin with `#` are comments.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

from shoal_common.errors import SettingsError

MOST_TOLD = 100

T = TypeVar("T")


class Mistakes:
    """What is wrong with one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told: list[str] = []
        self._count = 0

    def add(self, where: str, problem: object) -> None:
        """`where` is in the file, such as `line 7`; empty: the file as a whole."""
        self._count += 1
        if len(self._told) < MOST_TOLD:
            self._told.append(": ".join(filter(None, (str(self._path), where, str(problem)))))

    def tell(self) -> None:
        """Raises SettingsError if there were any."""
        if self._count > MOST_TOLD:
            self._told.append(f"{self._path}: {self._count - MOST_TOLD} more mistakes")
        if self._told:
            raise SettingsError(self._told)


def text_of(path: Path) -> str:
    """The text of a file; raises SettingsError when it cannot be read or is not UTF-8."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError([f"{path}: {error.strerror}"]) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError([f"{path}: line {line}: not in UTF-8"]) from None


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, by their number, without blanks around."""
    for number, line in enumerate(io.StringIO(text), start=1):
        said = line.strip()
        if said and not said.startswith("#"):
            yield number, said


class Row:
    """One line of a table, `line` in its file."""

    def __init__(self, line: int, cells: Mapping[str, str]) -> None:
        self.line = line
        self.problems: list[str] = []
        self._cells = cells

    def cell(self, column: str, read: Callable[[str], T], otherwise: T) -> T:
        """The value of a column; `otherwise` where it is a mistake: of which the row has one more then."""
        try:
            return read(self._cells.get(column, ""))
        except ValueError as error:
            self.problems.append(f"{column}: {error}")
            return otherwise


def read_rows(
    text: str, needed: Sequence[str], more: Sequence[str], read: Callable[[Row], T], mistakes: Mistakes
) -> Iterator[tuple[int, T]]:
    """The line of each row of the table, and what `read` makes of it; rows with a problem are left out.

    `needed` are the columns that there must be, `more` those that there may be.
    """
    rows = csv.reader(_without_comments(text), skipinitialspace=True, strict=True)
    try:
        header = [name.strip().lower() for name in next((row for row in rows if row), [])]
        if not _is_header(header, needed, more, mistakes):
            return
        for cells in rows:
            if any(cells):
                row = Row(rows.line_num, _by_column(header, cells))
                value = read(row)
                if len(cells) > len(header):
                    row.problems.append(f"{len(cells)} values for {len(header)} columns")
                for problem in row.problems:
                    mistakes.add(f"line {row.line}", problem)
                if not row.problems:
                    yield row.line, value
    except csv.Error as error:
        mistakes.add(f"line {rows.line_num}", error)


def _without_comments(text: str) -> Iterator[str]:
    """Every line, so that the count is the file's; a comment is an empty one."""
    return ("\n" if line.startswith("#") else line for line in io.StringIO(text, newline=""))


def _is_header(header: Sequence[str], needed: Sequence[str], more: Sequence[str], mistakes: Mistakes) -> bool:
    known = (*needed, *more)
    problems = [
        f"{name!r} is no column; columns are {', '.join(known)}" for name in header if name not in known
    ]
    problems += [f"{name!r} is there twice" for name in known if header.count(name) > 1]
    if missing := [name for name in needed if name not in header]:
        problems.append(f"lacks {', '.join(missing)}")
    for problem in problems:
        mistakes.add("", f"the header line: {problem}")
    return not problems


def _by_column(header: Sequence[str], cells: Sequence[str]) -> Mapping[str, str]:
    return dict(zip_longest(header, (cell.strip() for cell in cells[: len(header)]), fillvalue=""))
