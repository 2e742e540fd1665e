"""Agents and servers as their operators start them, and what these read afterwards."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.process import wait_until
from testbed.program import Program

USER = "squid"
VHOST = "prod"
PASSWORD = "geheim-right"
WRONG_PASSWORD = "geheim-wrong"
SECRET = "geheim"
"""Every password in these tests holds it, so that none can hide in a log."""
_COMPLAINT = re.compile(r" (?:WARNING|ERROR|CRITICAL) \S+: (?!the counters of )(.*)")
"""What an agent says of its cache depends on which program serves as one."""


@dataclass(frozen=True, slots=True)
class Squid:
    """A cache, and an object that it can fetch."""

    port: int
    url: str


def agent(directory: Path, squid: Squid, amqp: str, *flags: object) -> Program:
    """An agent beside `squid`, not started yet."""
    own: list[object] = ["--amqp", amqp, "--cache-port", squid.port, "--check-urls", squid.url]
    own += ["--hostname", "sq1.example.org", "--external-ip", "206.12.48.10", "--interval", 0.5]
    return Program(directory, ["shoal_agent.cli"], [*own, "--log-level", "debug", *flags])


def server(directory: Path, amqp: str, *flags: object) -> Program:
    """A server that lists whatever it hears, not started yet; nobody here waits for its answers."""
    own = ["--listen", "127.0.0.1:0", "--amqp", amqp, "--verify", "no", "--log-level", "debug"]
    return Program(directory, ["shoal_server.cli"], [*own, *flags])


def log_of(program: Program) -> str:
    """All that it has said."""
    return program.log.read_text()


def complaints(log: str) -> list[str]:
    """The lines of a log that an operator should act upon."""
    return [match[1] for line in log.splitlines() if (match := _COMPLAINT.search(line))]


def await_line(program: Program, pattern: str, times: int = 1, within: float = 30.0) -> None:
    """Wait until so many lines match."""

    def said() -> bool:
        return len(lines(program, pattern)) >= times

    wait_until(said, within, f"{times} x {pattern!r} in the log of {program.directory.name}")


def lines(program: Program, pattern: str) -> Sequence[str]:
    """The lines of its log that match."""
    return [line for line in log_of(program).splitlines() if re.search(pattern, line)]
