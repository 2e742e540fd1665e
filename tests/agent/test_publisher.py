"""The publisher against a real RabbitMQ that fails in every way."""

import gc
import logging
import os
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from shoal_agent.publisher import (
    LISTENER_SECONDS,
    LONGEST_PAUSE,
    NobodyListensError,
    Publisher,
    pause_after,
    pause_for_a_listener,
)
from shoal_common.amqp import Broker, Tls
from shoal_common.errors import Unavailable
from shoal_server.intake.embedded import EmbeddedIntake
from testbed.ports import free_port
from testbed.process import wait_until
from testbed.rabbitmq import RabbitMQ
from tests.agent.support import Ear, broker, held

Publish = Callable[..., Publisher]


@pytest.fixture
def publisher() -> Iterator[Publish]:
    """Makes publishers, and closes them at the end."""
    made: list[Publisher] = []

    def make(*urls: str, exchange: str = "shoal") -> Publisher:
        hosts = [host for url in urls for host in broker(url).hosts]
        first = broker(urls[0])
        made.append(
            Publisher(
                Broker(tuple(hosts), first.user, first.password, first.vhost, False, Tls()), exchange, "test"
            )
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


def refusal(publisher: Publisher, body: bytes = b"x") -> str:
    """What is said when `body` cannot be published: one line."""
    with pytest.raises(Unavailable) as caught:
        publisher.publish(body)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def connections(rabbitmq: RabbitMQ) -> list[str]:
    return rabbitmq.ctl("list_connections", "client_properties").splitlines()


def test_a_published_message_arrives(rabbit_vhost: str, publisher: Publish) -> None:
    with Ear(rabbit_vhost) as ear:
        publisher(rabbit_vhost).publish(b"one")
        assert ear.await_bodies(1) == [b"one"]


def test_one_connection_is_kept_for_all_messages(
    rabbit_vhost: str, publisher: Publish, rabbitmq: RabbitMQ
) -> None:
    with Ear(rabbit_vhost) as ear:
        sender = publisher(rabbit_vhost)
        for _ in range(3):
            sender.publish(b"x")
            sender.wait(0.01)
        ear.await_bodies(3)
        wait_until(
            lambda: sum('"test"' in line for line in connections(rabbitmq)) == 1,
            10,
            "one connection is listed",
        )


def test_the_broker_keeps_no_message_for_longer_than_it_is_news(
    rabbit_vhost: str, publisher: Publish, rabbitmq: RabbitMQ
) -> None:
    with Ear(rabbit_vhost) as ear:
        publisher(rabbit_vhost).publish(b"x")
        wait_until(lambda: bool(ear._channel.queue_declare(ear._queue, passive=True).method.message_count))
        _, properties, _ = ear._channel.basic_get(ear._queue, auto_ack=True)
        assert properties is not None
        assert (properties.expiration, properties.content_type) == ("180000", "application/json")
        assert properties.delivery_mode == 2, "persistent"


def test_a_broker_that_is_not_there_refuses(publisher: Publish) -> None:
    port = free_port()
    assert refusal(publisher(f"amqp://127.0.0.1:{port}/")) == f"127.0.0.1:{port} refuses the connection"


def test_an_unknown_host_name_is_told(publisher: Publish) -> None:
    assert "nosuch.invalid:5672 cannot be used" in refusal(publisher("amqp://nosuch.invalid/"))


def test_a_wrong_password_is_told(rabbit_vhost: str, publisher: Publish) -> None:
    assert "password" in refusal(publisher(rabbit_vhost.replace("guest:guest", "guest:wrong")))


def test_a_missing_virtual_host_is_told(rabbitmq: RabbitMQ, publisher: Publish) -> None:
    assert "virtual host" in refusal(publisher(rabbitmq.vhost_url("nowhere")))


def test_something_that_is_no_broker_is_told(publisher: Publish) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(8)
                peer.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert "does not speak AMQP" in refusal(publisher(f"amqp://127.0.0.1:{server.getsockname()[1]}/"))
        thread.join()


def test_a_missing_exchange_is_waited_for_on_the_same_connection(
    rabbit_vhost: str, publisher: Publish
) -> None:
    sender = publisher(rabbit_vhost, exchange="later")
    assert "no such exchange" in refusal(sender)
    assert sender.connected
    with Ear(rabbit_vhost, "later") as ear:
        sender.publish(b"now")
        assert ear.await_bodies(1) == [b"now"]


def exchange_without_a_queue(url: str, exchange: str) -> None:
    with Ear(url, exchange):
        pass


def unheard(publisher: Publisher) -> str:
    """What is said once nobody listens any more: a queue can outlive its connection by a moment."""

    def refused() -> bool:
        try:
            publisher.publish(b"unheard")
        except NobodyListensError:
            return True
        return False

    wait_until(refused, 10, "nobody listens")
    return refusal(publisher)


def test_what_no_queue_takes_is_not_confirmed(rabbit_vhost: str, publisher: Publish) -> None:
    exchange_without_a_queue(rabbit_vhost, "deserted")
    sender = publisher(rabbit_vhost, exchange="deserted")
    assert unheard(sender) == f"{sender.place} is well, and no Shoal server listens there"


def test_who_listens_again_hears_what_is_new_over_the_same_connection(
    rabbit_vhost: str, publisher: Publish
) -> None:
    exchange_without_a_queue(rabbit_vhost, "deserted")
    sender = publisher(rabbit_vhost, exchange="deserted")
    unheard(sender)
    before = sender._connection, sender._channel
    with Ear(rabbit_vhost, "deserted") as ear:
        sender.publish(b"now")
        assert ear.await_bodies(1) == [b"now"]
    assert (sender._connection, sender._channel) == before


def test_nobody_listens_where_not_even_the_exchange_is(rabbit_vhost: str, publisher: Publish) -> None:
    sender = publisher(rabbit_vhost, exchange="not yet")
    with pytest.raises(NobodyListensError, match="no such exchange"):
        sender.publish(b"x")
    assert sender.connected


@pytest.mark.parametrize("exchange", ["deserted", "not yet"])
def test_to_be_heard_by_nobody_for_long_costs_no_memory(
    rabbit_vhost: str, publisher: Publish, exchange: str
) -> None:
    exchange_without_a_queue(rabbit_vhost, "deserted")
    sender = publisher(rabbit_vhost, exchange=exchange)
    logging.disable(logging.CRITICAL)  # pytest would keep every line
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(3):
            for _ in range(100):
                with pytest.raises(NobodyListensError):
                    sender.publish(b"x" * 1000)
            gc.collect()
            sizes.append(held())
    finally:
        tracemalloc.stop()
        logging.disable(logging.NOTSET)
    assert sizes[-1] - sizes[0] < 16 * 1024, sizes


def test_a_listener_whose_store_is_away_for_long_is_served_again(publisher: Publish) -> None:
    heard: list[bytes] = []
    away = threading.Event()

    class Store:
        def take(self, bodies: Sequence[bytes]) -> None:
            if away.is_set():
                raise Unavailable("the store is away")
            heard.extend(bodies)

    port = free_port()
    server = EmbeddedIntake("127.0.0.1", port, Store(), credentials=None)
    server.start()
    sender = publisher(f"amqp://127.0.0.1:{port}/")
    away.set()
    for _ in range(40):  # more than the listener allows channels
        assert "could not take the message" in refusal(sender)
    away.clear()
    sender.publish(b"after")
    assert heard == [b"after"]
    sender.close()
    server.stop()


def test_the_next_broker_is_tried_when_the_first_is_away(rabbit_vhost: str, publisher: Publish) -> None:
    with Ear(rabbit_vhost) as ear:
        away = f"{rabbit_vhost.rpartition(':')[0]}:{free_port()}/{rabbit_vhost.rpartition('/')[2]}"
        sender = publisher(away, rabbit_vhost)
        sender.publish(b"x")
        ear.await_bodies(1)
        assert sender.place in rabbit_vhost


def test_every_broker_that_was_tried_is_told(publisher: Publish) -> None:
    ports = free_port(), free_port()
    told = refusal(publisher(*(f"amqp://127.0.0.1:{port}/" for port in ports)))
    assert all(f"127.0.0.1:{port} refuses the connection" in told for port in ports)


def test_a_killed_broker_is_noticed_while_waiting_and_returned_to(
    rabbitmq: RabbitMQ, rabbit_vhost: str, publisher: Publish
) -> None:
    with Ear(rabbit_vhost):
        sender = publisher(rabbit_vhost)
        sender.publish(b"before")
        rabbitmq.kill()
        with pytest.raises(Unavailable):
            sender.wait(5.0)
        assert "refuses the connection" in refusal(sender, b"meanwhile")
    rabbitmq.start()
    with Ear(rabbit_vhost) as ear:
        sender.publish(b"after")
        assert ear.await_bodies(1) == [b"after"]


def test_a_user_whose_password_was_changed_is_waited_for(
    rabbitmq: RabbitMQ, rabbit_vhost: str, publisher: Publish
) -> None:
    with Ear(rabbit_vhost) as ear:
        sender = publisher(rabbit_vhost)
        sender.publish(b"before")
        rabbitmq.ctl("change_password", "guest", "another")
        sender.close()
        told, refused = refusal(sender), sender.refused_for(time.monotonic() + 60.0)
        rabbitmq.ctl("change_password", "guest", "guest")
        assert "refuses the user or the password" in told
        assert refused >= 60.0
        sender.publish(b"after")
        assert sender.refused_for(time.monotonic() + 60.0) == 0.0
        assert ear.await_bodies(2) == [b"before", b"after"]


def test_the_credentials_are_those_of_the_moment(rabbit_vhost: str) -> None:
    brokers = [broker(rabbit_vhost.replace("guest:guest", "guest:wrong")), broker(rabbit_vhost)]
    with Ear(rabbit_vhost) as ear:
        sender = Publisher(brokers[0], "shoal", "test", lambda: brokers.pop(0))
        assert "password" in refusal(sender)
        sender.publish(b"x")
        sender.close()
        assert ear.await_bodies(1) == [b"x"]


def test_trying_out_a_broker_publishes_nothing(rabbit_vhost: str, publisher: Publish) -> None:
    with Ear(rabbit_vhost) as ear:
        publisher(rabbit_vhost).try_out()
        assert ear.listen() == []
    with pytest.raises(Unavailable, match="no such exchange"):
        publisher(rabbit_vhost, exchange="never").try_out()


def test_a_connection_that_the_broker_closes_is_opened_again(
    rabbit_vhost: str, publisher: Publish, rabbitmq: RabbitMQ
) -> None:
    with Ear(rabbit_vhost):
        sender = publisher(rabbit_vhost)
        sender.publish(b"before")
        for line in rabbitmq.ctl("list_connections", "pid", "client_properties").splitlines():
            if '"test"' in line:
                rabbitmq.ctl("close_connection", line.split("\t")[0], "maintenance")
        with pytest.raises(Unavailable, match="maintenance"):
            sender.wait(5.0)
    with Ear(rabbit_vhost) as ear:
        sender.publish(b"after")
        assert ear.await_bodies(1) == [b"after"]


def test_a_broker_that_accepts_and_keeps_silent_is_given_up(
    rabbit_vhost: str, publisher: Publish, rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_common.amqp.CONNECT_SECONDS", 0.5)
    rabbitmq.pause()
    assert "does not answer" in refusal(publisher(rabbit_vhost))


def test_a_broker_that_falls_silent_is_given_up(
    rabbit_vhost: str, publisher: Publish, rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    def often(checker: Any) -> None:  # pika looks every 5 s more than a heartbeat, which is long for a test
        checker._update_counters()
        checker._check_timer = checker._connection._adapter_call_later(1.5, checker._check_heartbeat)

    monkeypatch.setattr("shoal_common.amqp.HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr("pika.heartbeat.HeartbeatChecker._start_check_timer", often)
    with Ear(rabbit_vhost):
        sender = publisher(rabbit_vhost)
        sender.publish(b"before")
        rabbitmq.pause()
        assert "fallen silent" in refusal(sender)
        assert not sender.connected
        rabbitmq.resume()


@pytest.fixture
def alarm(rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """Puts the broker short of memory, and back."""
    monkeypatch.setattr("shoal_common.amqp.BLOCKED_SECONDS", 0.5)

    now = False

    def put(short: bool) -> None:
        nonlocal now
        now = short
        limit = "{absolute, 1000000}" if short else "0.6"
        there = "[_ | _]" if short else "[]"
        # One call of rabbitmqctl takes a second, so the waiting is done by the broker.
        waiting = f"case rabbit_alarm:get_alarms() of {there} -> ok; _ -> timer:sleep(20), Wait(N - 1) end"
        wait = f"Wait = fun Wait(0) -> late; Wait(N) -> {waiting} end, Wait(500)."
        command = f"vm_memory_monitor:set_vm_memory_high_watermark({limit}), {wait}"
        assert rabbitmq.ctl("eval", command).strip() == "ok"

    rabbitmq.start()
    yield put
    if now:
        put(False)


def test_a_broker_short_of_memory_is_told_and_used_again_afterwards(
    rabbit_vhost: str, publisher: Publish, alarm: Callable[[bool], None]
) -> None:
    with Ear(rabbit_vhost) as ear:
        sender = publisher(rabbit_vhost)
        sender.publish(b"before")
        alarm(True)
        assert "short of memory" in refusal(sender, b"first")
        alarm(False)
        sender.publish(b"after")
        wait_until(lambda: b"after" in ear.listen(), 10, "the message after the alarm")


def test_of_the_heartbeats_of_a_long_alarm_at_most_one_is_delivered_late(
    rabbit_vhost: str, publisher: Publish, alarm: Callable[[bool], None]
) -> None:
    with Ear(rabbit_vhost) as ear:
        sender = publisher(rabbit_vhost)
        sender.publish(b"before")
        alarm(True)
        for number in range(4):
            refusal(sender, b"late %d" % number)
        alarm(False)
        sender.publish(b"after")
        wait_until(lambda: b"after" in ear.listen(), 10, "the message after the alarm")
        assert not {b"late 1", b"late 2", b"late 3"} & set(ear.listen())


def test_an_outage_leaves_no_open_files_behind(publisher: Publish) -> None:
    sender = publisher(f"amqp://127.0.0.1:{free_port()}/")
    refusal(sender)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counts, holds nothing open
    for _ in range(20):
        refusal(sender)
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


def test_tls_is_spoken(rabbitmq: RabbitMQ, certificates: Path) -> None:
    rabbitmq.start()
    with Ear(rabbitmq.url) as ear:
        trusting = Publisher(Broker.parse(rabbitmq.tls_url, Tls(certificates / "ca.pem")), "shoal", "test")
        trusting.publish(b"x")
        trusting.close()
        assert ear.await_bodies(1) == [b"x"]


@pytest.mark.parametrize(("authority", "told"), [("stranger.pem", "not trusted"), ("gone.pem", "gone.pem")])
def test_the_brokers_certificate_is_checked(
    rabbitmq: RabbitMQ, certificates: Path, authority: str, told: str
) -> None:
    rabbitmq.start()
    wary = Publisher(Broker.parse(rabbitmq.tls_url, Tls(ca_file=certificates / authority)), "shoal", "test")
    assert told in refusal(wary)


def test_waiting_keeps_the_connection_alive(
    rabbit_vhost: str, publisher: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_common.amqp.HEARTBEAT_SECONDS", 1)
    sender = publisher(rabbit_vhost)
    sender.connect()
    until = time.monotonic() + 4.0  # a broker cuts a peer that misses two heartbeats
    while time.monotonic() < until:
        sender.wait(0.5)
    with Ear(rabbit_vhost) as ear:
        sender.publish(b"after")
        assert ear.await_bodies(1) == [b"after"]


def test_a_publisher_without_a_connection_cannot_wait(publisher: Publish) -> None:
    with pytest.raises(Unavailable):
        publisher("amqp://127.0.0.1:1/").wait(0.1)


def test_pauses_grow_and_end_at_a_minute() -> None:
    longest = [max(pause_after(failures) for _ in range(300)) for failures in (1, 4, 1000)]
    assert longest[0] <= 2.0 < longest[1] <= 16.0 < longest[2] <= LONGEST_PAUSE


def test_pauses_are_spread_over_their_whole_span() -> None:
    pauses = [pause_after(20) for _ in range(300)]
    assert min(pauses) < LONGEST_PAUSE / 4
    assert max(pauses) > LONGEST_PAUSE * 3 / 4


def test_a_listener_is_looked_for_every_few_seconds_and_not_by_all_at_once() -> None:
    pauses = [pause_for_a_listener() for _ in range(300)]
    assert LISTENER_SECONDS / 2 <= min(pauses) < 0.6 * LISTENER_SECONDS
    assert 0.9 * LISTENER_SECONDS < max(pauses) <= LISTENER_SECONDS
