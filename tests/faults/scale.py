"""How large and how slow a run is: the short form of every test run, the full one of `make faults`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Times in seconds: `beat` between two heartbeats of an agent; `fault` is how long a fault lasts, longer
    than `dead_after`, so that a server that believed the silence would show it."""

    name: str
    agents: int
    servers: int
    beat: float
    suspect_after: float
    dead_after: float
    hold_cap: float
    verify_interval: float
    fault: float
    lookups_per_second: float
    looks_per_second: float
    verify_timeout: float

    @property
    def flags(self) -> tuple[object, ...]:
        """These times as the server's flags."""
        return (
            *("--suspect-after", self.suspect_after, "--dead-after", self.dead_after),
            *("--hold-cap", self.hold_cap, "--verify-interval", self.verify_interval),
            *("--verify-timeout", self.verify_timeout),
        )


SHORT = Scale(
    name="short",
    agents=30,
    servers=2,
    beat=0.5,
    suspect_after=1.5,
    dead_after=3.0,
    hold_cap=120.0,
    verify_interval=2.0,
    fault=4.2,
    lookups_per_second=24.0,
    looks_per_second=3.0,
    verify_timeout=3.0,
)
FULL = Scale(
    name="full",
    agents=500,
    servers=2,
    beat=2.5,
    suspect_after=6.0,
    dead_after=12.0,
    hold_cap=120.0,
    verify_interval=10.0,
    fault=14.0,
    lookups_per_second=50.0,
    looks_per_second=1.0,
    verify_timeout=5.0,
)
REAL = Scale(
    name="real times",
    agents=500,
    servers=2,
    beat=30.0,
    suspect_after=90.0,
    dead_after=175.0,
    hold_cap=900.0,
    verify_interval=300.0,
    fault=60.0,
    lookups_per_second=60.0,
    looks_per_second=1.0,
    verify_timeout=5.0,
)
