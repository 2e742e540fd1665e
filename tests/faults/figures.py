"""What a fault cost, as a row of a table; `python -m tests.faults.figures ROWS PAGE` writes the table."""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

ROWS_VARIABLE = "FAULT_FIGURES"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


@dataclass(frozen=True, slots=True)
class Row:
    """The count of one fault. `lost`: live squids missing from a list; `overlong`: dead or departed ones
    offered longer than promised; `offered`: how long the slowest was (s) and `promised` (s), None where
    nobody went; `unstored`: heartbeats acknowledged and not stored, None where that cannot be counted;
    `back`: seconds from the end of the fault until all is as it should be, `waited_for` what came last.
    """

    fault: str
    parts: str
    agents: int
    answered: int
    failed: int
    slowest_ms: float
    live: int
    lost: int
    overlong: int
    offered: float | None
    promised: float | None
    acknowledged: int
    unstored: int | None
    back: float
    note: str = ""
    waited_for: str = ""

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        return not (self.failed or self.lost or self.overlong or self.unstored)

    def keep(self) -> None:
        """Append it to the file that the environment names, if it does."""
        if path := os.environ.get(ROWS_VARIABLE):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(self)) + "\n")

    def cells(self) -> list[str]:
        gone = "" if self.offered is None else f"{self.offered:.1f} of {self.promised:.0f}"
        return [
            self.fault,
            self.parts,
            f"{self.answered} / {self.failed}",
            f"{self.slowest_ms:.0f}",
            f"{self.lost} of {self.live}",
            gone,
            str(self.overlong),
            f"{self.acknowledged} / {'not counted' if self.unstored is None else self.unstored}",
            f"{self.back:.1f}",
            self.note,
        ]


HEAD = [
    "fault",
    "parts",
    "lookups answered / failed",
    "slowest, ms",
    "live squids lost",
    "gone after, s",
    "offered too long",
    "heartbeats acknowledged / not stored",
    "all well after, s",
    "note",
]


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [HEAD, ["---"] * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def main(rows_file: str, page: str) -> int:
    """Put the rows between the page's marks; the exit code is 1 when a promise was broken."""
    lines = Path(rows_file).read_text(encoding="utf-8").splitlines()
    rows = sorted((Row(**json.loads(line)) for line in lines), key=lambda row: (row.fault, row.parts))
    text = Path(page).read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    Path(page).write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}", encoding="utf-8")
    return int(not all(row.kept for row in rows))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
