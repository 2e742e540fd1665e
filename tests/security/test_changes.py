"""What changes while agents and servers run: passwords, and all certificates. Nobody is restarted for it."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from testbed.ports import free_port
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
    await_line,
    lines,
    log_of,
    server,
)
from tests.security.relay import Relay, Relays

PUBLISHING = "INFO shoal_agent.agent: publishing to"
CONSUMING = "INFO shoal_server.intake.rabbitmq: consuming"


@dataclass(slots=True)
class Site:
    """One agent and server that share a broker, another agent and server that need none."""

    broker: RabbitMQ
    relays: Relays
    doors: tuple[Relay, Relay]
    """The ways to the broker and to the listener."""
    listener: Program
    consumer: Program
    to_broker: Program
    to_listener: Program
    papers: tuple[Papers, ...]
    """Those of the four, in this order."""

    @property
    def all(self) -> tuple[Program, ...]:
        return self.listener, self.consumer, self.to_broker, self.to_listener

    @property
    def clients(self) -> tuple[Program, ...]:
        """Who connects to somebody."""
        return self.consumer, self.to_broker, self.to_listener

    def hang_up(self) -> None:
        """Make all of them connect anew."""
        for door in self.doors:
            self.relays.hang_up(door)

    def await_all_in(self, times: int) -> None:
        """Wait until each has got in for the nth time."""
        await_line(self.consumer, CONSUMING, times)
        await_line(self.to_broker, PUBLISHING, times)
        await_line(self.to_listener, PUBLISHING, times)


@pytest.fixture
def site(
    broker: RabbitMQ,
    authority: Authority,
    squid: Squid,
    relays: Relays,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    listener, consumer, *agents = papers = [
        authority.issue(name)
        for name in ("localhost", "server.example.org", "sq1.example.org", "sq2.example.org")
    ]
    doors = relays.to(broker.tls_port), relays.to(free_port())
    login = f"{USER}:{PASSWORD}"
    rabbit = f"amqps://{login}@localhost:{doors[0].port}/{VHOST}"
    made = (
        server(
            tmp_path_factory.mktemp("listener"),
            f"embedded+tls://{login}@127.0.0.1:{doors[1].target}/{VHOST}",
            *listener.flags,
        ),
        server(tmp_path_factory.mktemp("consumer"), rabbit, *consumer.flags),
        agent(tmp_path_factory.mktemp("agent"), squid, rabbit, *agents[0].flags),
        agent(
            tmp_path_factory.mktemp("agent"),
            squid,
            f"amqps://{login}@localhost:{doors[1].port}/{VHOST}",
            *agents[1].flags,
        ),
    )
    with ExitStack() as stack:
        for program in made:
            stack.callback(program.kill)
            program.start()
        it = Site(broker, relays, doors, *made, papers=tuple(papers))
        it.await_all_in(1)
        yield it


def test_a_wrong_password_is_told_once_and_the_right_one_lets_all_in_again(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    site.listener.kill()
    strict = server(
        tmp_path_factory.mktemp("listener"),
        f"embedded+tls://{USER}:{WRONG_PASSWORD}@127.0.0.1:{site.doors[1].target}/{VHOST}",
        *site.papers[0].flags,
    )
    site.broker.ctl("change_password", USER, WRONG_PASSWORD)
    try:
        with strict:
            site.hang_up()
            for client in site.clients:
                await_line(client, "WARNING .* refuses the user or the password")
    finally:
        site.broker.ctl("change_password", USER, PASSWORD)
    site.listener.start()
    site.await_all_in(2)
    for client in site.clients:
        assert len(lines(client, "refuses the user or the password")) == 1
        assert client.running
    assert not [program for program in (*site.all, strict) if SECRET in log_of(program)]


def test_renewed_certificates_of_another_authority_count_from_the_next_connection_on(
    site: Site, authority: Authority, stranger: Authority, broker_papers: Papers
) -> None:
    was = authority.issue("localhost")
    try:
        for papers in (site.papers[0], broker_papers):
            papers.become(authority.issue("localhost", expired=True))
        site.broker.ctl("eval", "ssl:clear_pem_cache().")  # else it reads them again after two minutes
        site.hang_up()
        for client in site.clients:
            await_line(client, "WARNING .* certificate has expired")
        for papers in (*site.papers, broker_papers):
            papers.become(stranger.issue("localhost"))
        site.broker.ctl("eval", "ssl:clear_pem_cache().")
        site.await_all_in(2)
    finally:
        broker_papers.become(was)
        site.broker.ctl("eval", "ssl:clear_pem_cache().")
    for client in site.clients:
        assert len(lines(client, "certificate has expired")) == 1
        assert client.running
