"""Squids as marks on the map: one for all that would lie upon each other.

The map is static/world.svg, an equirectangular picture of 1000 by 500 units.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shoal_server.ranking import unit_vector
from shoal_server.squid import Place
from shoal_server.web.rows import ORDER, Row, State
from shoal_server.web.words import rate, squids

WIDTH, HEIGHT = 1000.0, 500.0
NEAREST = 12.0
"""Places that are closer than this many units share a mark."""
MOST_MARKS = 100
COARSER = 1.5
SMALLEST, LARGEST = 3.6, 11.0
LEAST_WITH_COUNT = 6.5
PER_ROOT_KB = 0.007
"""Radius per square root of kB/s, so that areas are as capacities; 8 units for 10 Gb/s."""
STEPS = 32
NO_WAY = 0.002
"""Radians, some 13 km: what is nearer has no line worth drawing, nor has its antipode a way of its own."""
NORTH, SHOWN = 12.0, 398.0
"""The part that is shown: from 86°N to 57°S."""
ROOM = 1.5
LEAST_WIDTH = 150.0


def project(latitude: float, longitude: float) -> tuple[float, float]:
    """Where on the map a place is."""
    return (longitude + 180) / 360 * WIDTH, (90 - latitude) / 180 * HEIGHT


@dataclass(frozen=True, slots=True)
class Area:
    """A part of the map: its corner in the north-west, and how much it is enlarged."""

    title: str
    x: float = 0.0
    y: float = 0.0
    zoom: float = 1.0

    @classmethod
    def around(cls, title: str, x: float, y: float, width: float) -> "Area":
        """So wide a part with `x`, `y` in its middle, moved to where the map does not end in it."""
        width = min(width, WIDTH)
        height = width * SHOWN / WIDTH
        left = min(max(0.0, x - width / 2), WIDTH - width)
        top = min(max(0.0, y - height / 2), HEIGHT - height)
        return cls(title, left, top, WIDTH / width)

    @classmethod
    def holding(cls, places: Iterable[Place]) -> "Area":
        """What shows all the places, and some of what is around them."""
        spots = [project(place.latitude, place.longitude) for place in places]
        if not spots:
            return WORLD
        xs, ys = [x for x, _ in spots], [y for _, y in spots]
        width = max(max(xs) - min(xs), (max(ys) - min(ys)) * WIDTH / SHOWN) * ROOM
        middle = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
        return cls.around("", *middle, max(width, LEAST_WIDTH)) if width < WIDTH else WORLD

    @property
    def box(self) -> str:
        """What of its own units is shown, as `viewBox` has it; the same shape for every area."""
        return f"0 {NORTH if self.zoom == 1 else 0:g} {WIDTH:g} {SHOWN:g}"

    @property
    def transform(self) -> str:
        """What brings the map's units to this area's."""
        return f"scale({self.zoom:.4g}) translate({-self.x:.2f} {-self.y:.2f})"

    def spot(self, latitude: float, longitude: float) -> tuple[float, float]:
        """Where a place is in this area's units."""
        x, y = project(latitude, longitude)
        return (x - self.x) * self.zoom, (y - self.y) * self.zoom

    def shows(self, x: float, y: float) -> bool:
        """Whether a spot in this area's units is in the picture."""
        return self.zoom == 1 or (0 <= x <= WIDTH and 0 <= y <= SHOWN)


WORLD = Area("World")


@dataclass(frozen=True, slots=True)
class Mark:
    """Squids at `x`, `y`: the place of the largest of them; `radius` is as their capacity together."""

    x: float
    y: float
    radius: float
    rows: Sequence[Row]
    place: Place

    @property
    def count(self) -> int:
        return len(self.rows)

    @property
    def state(self) -> State:
        """Of all of them, if they agree; else the worst."""
        return max((row.state for row in self.rows), key=ORDER.__getitem__)

    @property
    def at(self) -> str:
        """The place as a word of a query."""
        return f"{self.place.latitude:.2f},{self.place.longitude:.2f}"

    @property
    def label(self) -> str:
        """What the mark says to who cannot see it, or points at it."""
        capacity = rate(sum(row.squid.max_load for row in self.rows))
        if self.count == 1:
            row = self.rows[0]
            return f"{row.name}, {row.place}: {row.state.value}, {capacity}"
        counts = Counter(row.state for row in self.rows)
        states = ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])
        return f"{self.rows[0].place}: {squids(self.count)}: {states}; {capacity}"

    @property
    def arcs(self) -> list[tuple[State, float, float]]:
        """The ring around it: for each state where its arc begins and how long it is, in percent."""
        counts = Counter(row.state for row in self.rows)
        arcs, begin = [], 0.0
        for state in State:
            if counts[state]:
                length = 100 * counts[state] / self.count
                arcs.append((state, begin, length))
                begin += length
        return arcs


def _area(title: str, latitude: float, longitude: float, width: float) -> Area:
    return Area.around(title, *project(latitude, longitude), width)


AREAS: Mapping[str, Area] = {
    "": WORLD,
    "europe": _area("Europe", 50.0, 11.0, 190.0),
    "america": _area("North America", 41.0, -96.0, 270.0),
    "asia": _area("East Asia", 28.0, 108.0, 330.0),
}


def marks(rows: Iterable[Row], area: Area = WORLD) -> list[Mark]:
    """Marks for all squids whose place is in the area, the largest first, so that small ones lie above."""
    places: defaultdict[tuple[float, float], list[Row]] = defaultdict(list)
    for row in rows:
        if (place := row.listed.place) is not None:
            places[place.latitude, place.longitude].append(row)
    spots = [_Spot.of(Place(*where), found, area) for where, found in places.items()]
    spots = [spot for spot in spots if area.shows(spot.x, spot.y)]
    spots.sort(key=lambda spot: spot.capacity, reverse=True)
    distance = NEAREST
    while len(groups := _gathered(spots, distance)) > MOST_MARKS:
        distance *= COARSER
    made = [_mark(group) for group in groups]
    return sorted(made, key=lambda mark: mark.radius, reverse=True)


def path(start: Place, end: Place, area: Area = WORLD) -> str:
    """The great circle between two places as SVG path data, cut where it crosses the map's edge."""
    a, b = unit_vector(start), unit_vector(end)
    angle = math.acos(min(1.0, max(-1.0, sum(p * q for p, q in zip(a, b, strict=True)))))
    if not NO_WAY < angle < math.pi - NO_WAY:
        return ""
    parts, before, edge = [], 0.0, WIDTH / 2 * area.zoom
    for step in range(STEPS + 1):
        back, forth = math.sin((1 - step / STEPS) * angle), math.sin(step / STEPS * angle)
        x, y = area.spot(*_degrees([back * p + forth * q for p, q in zip(a, b, strict=True)]))
        command = "M" if not step or abs(x - before) > edge else "L"
        parts.append(f"{command}{x:.1f},{y:.1f}")
        before = x
    return "".join(parts)


def _degrees(vector: Sequence[float]) -> tuple[float, float]:
    """Latitude and longitude of a direction, whatever its length."""
    x, y, z = vector
    return math.degrees(math.atan2(z, math.hypot(x, y))), math.degrees(math.atan2(y, x))


@dataclass(frozen=True, slots=True)
class _Spot:
    """All squids of exactly one place."""

    x: float
    y: float
    capacity: float
    rows: list[Row]
    place: Place

    @classmethod
    def of(cls, place: Place, rows: list[Row], area: Area) -> "_Spot":
        x, y = area.spot(place.latitude, place.longitude)
        return cls(x, y, sum(row.squid.max_load for row in rows), rows, place)


def _gathered(spots: Sequence[_Spot], distance: float) -> list[list[_Spot]]:
    """Each spot with the first larger one within the distance; a grid of that width bounds the search."""
    grid: defaultdict[tuple[int, int], list[list[_Spot]]] = defaultdict(list)
    for spot in spots:
        group = _within(grid, spot, distance)
        if group is None:
            grid[_cell(spot, distance)].append([spot])
        else:
            group.append(spot)
    return [group for cell in grid.values() for group in cell]


def _within(
    grid: Mapping[tuple[int, int], list[list[_Spot]]], spot: _Spot, distance: float
) -> list[_Spot] | None:
    column, line = _cell(spot, distance)
    near = (
        group
        for c in (column, column - 1, column + 1)
        for r in (line, line - 1, line + 1)
        for group in grid.get((c, r), ())
    )
    return next((g for g in near if math.hypot(g[0].x - spot.x, g[0].y - spot.y) < distance), None)


def _cell(spot: _Spot, width: float) -> tuple[int, int]:
    return int(spot.x // width), int(spot.y // width)


def _mark(group: Sequence[_Spot]) -> Mark:
    first = group[0]
    rows = [row for spot in group for row in spot.rows]
    least = SMALLEST if len(rows) == 1 else LEAST_WITH_COUNT
    radius = PER_ROOT_KB * math.sqrt(max(0.0, sum(spot.capacity for spot in group)))
    radius = min(LARGEST, max(least, radius))
    return Mark(round(first.x, 1), round(first.y, 1), round(radius, 1), rows, first.place)
