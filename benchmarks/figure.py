"""One measured figure and the limit it must keep."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` in `unit`; `limit` is the most it may be, or with `least` the least."""

    name: str
    value: float
    unit: str
    limit: float
    least: bool = False

    @property
    def kept(self) -> bool:
        return self.value >= self.limit if self.least else self.value <= self.limit

    def __str__(self) -> str:
        verdict = "" if self.kept else "   MISSED"
        side = "least" if self.least else "most"
        return f"{self.name:<72} {self.value:>9.3g} {self.unit:<4} (at {side} {self.limit:g}){verdict}"
