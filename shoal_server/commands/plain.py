"""Text for a terminal: tables and lists in which nothing that a stranger chose can move the cursor.

Host names and reasons come from heartbeats, which anyone may send. Whatever is not printable
(control characters, escape sequences, changes of writing direction) is shown as Python would write it.
"""

import json
import unicodedata
from collections.abc import Sequence

Cell = str | int | float | None
NOTHING = "-"
_GAP = "  "


def safe(text: object) -> str:
    """`text` on one line, with every character that is not printable written out (`\\x1b`, `\\u202e`)."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(text)
    )


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Aligned columns under a head; numbers stand to the right, what is not known is a dash."""
    cells = [list(head), *([_shown(cell) for cell in row] for row in rows)]
    widths = [max(_width(line[i]) for line in cells) for i in range(len(head))]
    right = [_is_numeric([row[i] for row in rows]) for i in range(len(head))]
    lines = [[_padded(*cell) for cell in zip(line, widths, right, strict=True)] for line in cells]
    return "".join(_GAP.join(line).rstrip() + "\n" for line in lines)


def facts(pairs: Sequence[tuple[str, Cell]]) -> str:
    """A name and a value on each line."""
    width = max((_width(name) for name, _ in pairs), default=0)
    return "".join(f"{_padded(name, width, False)}{_GAP}{_shown(value)}\n" for name, value in pairs)


def as_json(data: object) -> str:
    """Indented, ASCII alone: as safe on a terminal as it is for a program."""
    return json.dumps(data, indent=2, ensure_ascii=True).replace("\x7f", "\\u007f") + "\n"


def duration(seconds: float) -> str:
    """A span of time in its two largest units: `12 s`, `3 min 5 s`, `2 d 4 h`."""
    left = max(0, round(seconds))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        parts.append((count, unit))
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def _shown(cell: Cell) -> str:
    return NOTHING if cell is None or cell == "" else safe(cell)


def _is_numeric(column: Sequence[Cell]) -> bool:
    known = [cell for cell in column if cell is not None]
    return bool(known) and all(isinstance(cell, int | float) for cell in known)


def _padded(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - _width(text))
    return blanks + text if right else text + blanks


def _width(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
