"""Every way of not getting in, side by side on real programs: one clear line each, and another try."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest

from testbed.ports import accepts, free_port
from testbed.process import wait_until
from testbed.program import Program
from testbed.rabbitmq import RabbitMQ
from tests.security.papers import Authority, Papers
from tests.security.parties import (
    PASSWORD,
    SECRET,
    USER,
    VHOST,
    WRONG_PASSWORD,
    Squid,
    agent,
    complaints,
    log_of,
    server,
)
from tests.security.relay import Relay, Relays

DOORS = ("agent to RabbitMQ", "agent to the listener", "server to RabbitMQ")
TRIES = 3
PATIENCE = 40.0


@dataclass(frozen=True, slots=True)
class Mistake:
    """A way to be set up wrongly; `says` is part of the line that tells it."""

    says: str
    scheme: str = "amqps"
    host: str = "localhost"
    port: str = "secure"
    password: str = PASSWORD
    vhost: str = VHOST
    trusts: str = "shoal"
    shows: str = "good"

    def url(self, relay: Relay) -> str:
        """What is set as the broker's URL."""
        return f"{self.scheme}://{USER}:{self.password}@{self.host}:{relay.port}/{self.vhost}"


MISTAKES = {
    "wrong authority": Mistake("shows a certificate that is not trusted: self-signed", trusts="stranger"),
    "wrong host name": Mistake("certificate is not valid for '127.0.0.1'", host="127.0.0.1"),
    "no certificate": Mistake("certificate", shows="none"),
    "a certificate of another authority": Mistake("certificate", shows="foreign"),
    "an expired certificate": Mistake("certificate", shows="expired"),
    "plain on the TLS port": Mistake("is this its TLS port", scheme="amqp"),
    "TLS on the plain port": Mistake("does not speak TLS here", port="plain"),
    "wrong password": Mistake("refuses the user or the password", password=WRONG_PASSWORD),
    "wrong virtual host": Mistake("has no such virtual host", vhost="elsewhere"),
}
CASES = [(door, mistake) for door in DOORS for mistake in MISTAKES]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a program that was set up wrongly."""

    log: str
    tries: int
    running: bool


@dataclass(slots=True)
class Trial:
    """A program that tries to get in through `relay`."""

    program: Program
    relay: Relay

    def outcome(self) -> Outcome:
        return Outcome(log_of(self.program), self.relay.taken, self.program.running)


Outcomes = dict[tuple[str, str], Outcome]


@pytest.fixture(scope="module")
def papers(authority: Authority, stranger: Authority) -> dict[str, Sequence[str]]:
    """The flags of each way to show a certificate."""

    def shown(issued: Papers) -> Sequence[str]:
        return "--cert-file", str(issued.certificate), "--key-file", str(issued.key)

    return {
        "none": (),
        "good": shown(authority.issue("sq1.example.org")),
        "foreign": shown(stranger.issue("sq1.example.org")),
        "expired": shown(authority.issue("sq1.example.org", expired=True)),
    }


@pytest.fixture(scope="module")
def outcomes(
    broker: RabbitMQ,
    squid: Squid,
    relays: Relays,
    authority: Authority,
    stranger: Authority,
    papers: dict[str, Sequence[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Outcomes]:
    """All of them at once, since most of the time is spent between two tries."""
    trusted = {"shoal": str(authority.file), "stranger": str(stranger.file)}
    with ExitStack() as stack:

        def started(kind: str, make: Callable[..., Program], *arguments: object) -> Program:
            program = make(tmp_path_factory.mktemp(kind), *arguments)
            stack.callback(program.kill)
            return program.start()

        ports = {"secure": free_port(), "plain": free_port()}
        login = f"{USER}:{PASSWORD}@127.0.0.1"
        own = authority.issue("localhost").flags
        started("listener", server, f"embedded+tls://{login}:{ports['secure']}/{VHOST}", *own)
        started("listener", server, f"embedded://{login}:{ports['plain']}/{VHOST}")
        for port in ports.values():
            wait_until(lambda port=port: accepts("127.0.0.1", port), PATIENCE, "the listeners listen")  # type: ignore[misc]
        rabbit = {"secure": broker.tls_port, "plain": broker.port}

        trials: dict[tuple[str, str], Trial] = {}
        for door, name in CASES:
            mistake = MISTAKES[name]
            relay = relays.to((ports if "listener" in door else rabbit)[mistake.port])
            papered = ("--ca-file", trusted[mistake.trusts], *papers[mistake.shows])
            flags = () if mistake.scheme == "amqp" else papered
            if door.startswith("agent"):
                program = started("agent", agent, squid, mistake.url(relay), *flags)
            else:
                program = started("server", server, mistake.url(relay), *flags)
            trials[door, name] = Trial(program, relay)
        with suppress(TimeoutError):  # the tests tell which of them it was
            wait_until(lambda: all(trial.relay.taken >= TRIES for trial in trials.values()), PATIENCE)
        yield {case: trial.outcome() for case, trial in trials.items()}


@pytest.fixture(params=CASES, ids=": ".join)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Who tried where, and what was wrong."""
    found: tuple[str, str] = request.param
    return found


def test_what_is_wrong_is_told_in_one_clear_line(outcomes: Outcomes, case: tuple[str, str]) -> None:
    told = complaints(outcomes[case].log)
    assert len(told) == 1, outcomes[case].log
    assert MISTAKES[case[1]].says in told[0]
    assert "Traceback" not in outcomes[case].log


def test_it_is_tried_again_and_neither_in_a_loop_nor_to_the_end(
    outcomes: Outcomes, case: tuple[str, str]
) -> None:
    assert outcomes[case].running
    assert TRIES <= outcomes[case].tries < 5 * TRIES


def test_no_log_holds_a_password(outcomes: Outcomes) -> None:
    assert not [case for case, outcome in outcomes.items() if SECRET in outcome.log]
