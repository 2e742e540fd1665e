"""One measured figure and the limit it must keep."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` in `unit`; `limit` is the most it may be."""

    name: str
    value: float
    unit: str
    limit: float

    @property
    def kept(self) -> bool:
        return self.value <= self.limit

    def __str__(self) -> str:
        verdict = "" if self.kept else "   MISSED"
        return f"{self.name:<62} {self.value:>9.3g} {self.unit:<4} (at most {self.limit:g}){verdict}"
