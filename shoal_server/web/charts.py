"""A squid's past as curves: paths for inline SVG, with gaps where it was not listed."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from shoal_server.history import Grain, Sample
from shoal_server.web.words import percent, rate

WIDTH, HEIGHT = 720.0, 120.0
TICKS = {Grain.FINE: 6 * 3600, Grain.COARSE: 5 * 86_400}
TICK_WORDS = {Grain.FINE: "%H:%M", Grain.COARSE: "%d %b"}
ROOM = 1.15
"""How much higher than its highest value a curve's frame is."""
NOTHING = "nothing recorded"

Value = Callable[[Sample], float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """A curve with its frame; `line` and `area` are SVG path data, `limit` is where the capacity lies.

    `top` is the value at the upper edge; `summary` says in words what the curve shows.
    """

    title: str
    line: str
    area: str
    limit: float | None
    top: str
    ticks: Sequence[tuple[float, str]]
    summary: str


def load_chart(samples: Sequence[Sample], capacity: float | None, grain: Grain, now: float) -> Chart:
    """Load in kB/s; the area reaches to the highest load of each span, the line is the mean."""
    highest = max((sample.highest for sample in samples), default=0.0)
    top = nice(max(highest * ROOM, 100.0))
    if capacity and top >= capacity / 3:
        top = max(top, capacity * ROOM)
    frame = _Frame(grain, now, top)
    limit = frame.y(capacity) if capacity and capacity <= top else None
    peak = max(samples, key=lambda sample: sample.highest, default=None)
    when = time.strftime("%d %b %H:%M UTC", time.gmtime(peak.at)) if peak else ""
    summary = f"mean {rate(_mean(sample.load for sample in samples))}, at most {rate(highest)} ({when})"
    return Chart(
        "Load",
        frame.line(samples, lambda sample: sample.load),
        frame.area(samples, lambda sample: sample.highest),
        limit,
        rate(top),
        frame.ticks,
        summary if samples else NOTHING,
    )


def hits_chart(samples: Sequence[Sample], grain: Grain, now: float) -> Chart:
    """The share of requests that were served from the cache."""
    frame = _Frame(grain, now, 1.0)
    told = [sample for sample in samples if sample.hit_ratio is not None]
    mean = _mean(sample.hit_ratio or 0.0 for sample in told)
    lacking = "nobody asked, or the agent does not say" if samples else NOTHING
    return Chart(
        "Hit ratio",
        frame.line(told, lambda sample: sample.hit_ratio),
        frame.area(told, lambda sample: sample.hit_ratio),
        None,
        "100 %",
        frame.ticks,
        f"mean {percent(mean)}" if told else lacking,
    )


def nice(value: float) -> float:
    """The next round number of two digits at most."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value)


@dataclass(frozen=True, slots=True)
class _Frame:
    """From times and values to the picture's units."""

    grain: Grain
    now: float
    top: float

    @property
    def begin(self) -> float:
        return self.now - self.grain.seconds * self.grain.kept

    def x(self, at: float) -> float:
        return min(WIDTH, max(0.0, (at - self.begin) / (self.now - self.begin) * WIDTH))

    def y(self, value: float) -> float:
        return round(HEIGHT * (1 - min(1.0, value / self.top)), 1)

    def line(self, samples: Sequence[Sample], value: Value) -> str:
        """One flat step for each span; what follows without a gap is joined."""
        return "".join(
            f"M{self.x(run[0].at):.1f},{self.y(value(run[0]) or 0.0)}{self._steps(run, value)}"
            for run in _runs(samples)
        )

    def area(self, samples: Sequence[Sample], value: Value) -> str:
        return "".join(
            f"M{self.x(run[0].at):.1f},{HEIGHT:g}{self._steps(run, value)}V{HEIGHT:g}Z"
            for run in _runs(samples)
        )

    def _steps(self, run: Sequence[Sample], value: Value) -> str:
        return "".join(
            f"V{self.y(value(sample) or 0.0)}H{self.x(sample.at + sample.seconds):.1f}" for sample in run
        )

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Round times, but for those too near an edge for their words."""
        step = TICKS[self.grain]
        first = math.ceil(self.begin / step) * step
        times = [first + number * step for number in range(int((self.now - first) // step) + 1)]
        words = TICK_WORDS[self.grain]
        placed = [(round(self.x(at), 1), time.strftime(words, time.gmtime(at))) for at in times]
        return [(x, text) for x, text in placed if 20 < x < WIDTH - 20]


def _runs(samples: Sequence[Sample]) -> Iterable[list[Sample]]:
    """The samples in runs without gaps."""
    run: list[Sample] = []
    for sample in samples:
        if run and sample.at > run[-1].at + run[-1].seconds:
            yield run
            run = []
        run.append(sample)
    if run:
        yield run


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return math.fsum(known) / len(known) if known else 0.0
