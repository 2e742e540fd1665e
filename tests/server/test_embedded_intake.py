"""The embedded intake against real AMQP clients, broken ones and hostile ones."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from typing import Any, TypeVar

import amqp
import pika
import pika.exceptions
import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pamqp import base, commands, frame, header
from pamqp.body import ContentBody
from pika.adapters.blocking_connection import BlockingChannel

from shoal_common.errors import Unavailable
from shoal_common.heartbeat import Heartbeat
from shoal_server.intake.embedded import Credentials, EmbeddedIntake, Limits
from shoal_server.intake.embedded.framing import PROTOCOL_HEADER
from shoal_server.intake.embedded.pump import Taker
from shoal_server.intake.embedded.session import Session, Stage
from shoal_server.intake.embedded.terms import Terms
from shoal_server.intake.reception import Reception
from shoal_server.registry import Registry
from shoal_server.squid import LivenessRules
from shoal_server.stores.memory import MemoryStore

M = TypeVar("M", bound=base.Frame)

DEADLINE = 10.0
GUEST = Credentials()
SQUID = Heartbeat(
    uuid="6c1b0c1e8a3f11e29e96fa163e0c2a11",
    hostname="sq1.example.org",
    port=3128,
    timestamp=1_700_000_000.0,
    load=87.0,
    public_ip="192.0.2.7",
)
HEARTBEAT = SQUID.encode()
LOGIN = b"\0guest\0guest"


class Ledger:
    """A reception that remembers; `open` cleared makes it hang, `broken` makes it raise Unavailable."""

    def __init__(self) -> None:
        self.broken = False
        self.open = threading.Event()
        self.open.set()
        self.tried = 0
        self._bodies: list[bytes] = []
        self._changed = threading.Condition()

    def take(self, bodies: Sequence[bytes]) -> None:
        with self._changed:
            self.tried += 1
            broken = self.broken
            self._changed.notify_all()
        self.open.wait(DEADLINE)
        if broken:
            raise Unavailable("store: connection refused")
        with self._changed:
            self._bodies += bodies
            self._changed.notify_all()

    @property
    def bodies(self) -> list[bytes]:
        with self._changed:
            return list(self._bodies)

    def waits_for(self, count: int) -> list[bytes]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._bodies) >= count, DEADLINE), (
                f"{len(self._bodies)} of {count} messages arrived"
            )
            return list(self._bodies)

    def waits_for_a_try(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.tried > 0, DEADLINE), "the reception was not called"


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    it = Ledger()
    yield it
    it.open.set()


@contextmanager
def listening(
    reception: Taker,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    ssl_context: ssl.SSLContext | None = None,
    credentials: Credentials | None = GUEST,
    virtual_host: str | None = None,
) -> Iterator[EmbeddedIntake]:
    intake = EmbeddedIntake(
        "127.0.0.1",
        0,
        reception,
        credentials=credentials,
        limits=limits,
        ssl_context=ssl_context,
        virtual_host=virtual_host,
    )
    intake.start()
    try:
        yield intake
    finally:
        intake.stop()


@pytest.fixture
def intake(ledger: Ledger) -> Iterator[EmbeddedIntake]:
    with listening(ledger) as it:
        yield it


def parameters(intake: EmbeddedIntake, **options: Any) -> pika.ConnectionParameters:
    host, port = intake.address
    credentials = pika.PlainCredentials("guest", options.pop("password", "guest"))
    options = {"socket_timeout": DEADLINE, "blocked_connection_timeout": DEADLINE} | options
    return pika.ConnectionParameters(host=host, port=port, credentials=credentials, **options)


@contextmanager
def channel_to(intake: EmbeddedIntake, **options: Any) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(parameters(intake, **options))
    try:
        yield connection.channel()
    finally:
        with suppress(pika.exceptions.AMQPError):
            connection.close()


def publish(channel: BlockingChannel, body: bytes = HEARTBEAT, exchange: str = "shoal") -> None:
    properties = pika.BasicProperties(content_type="application/json")
    channel.basic_publish(exchange=exchange, routing_key="info", body=body, properties=properties)


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"still not: {what}"
        time.sleep(0.01)


# ---- publishers that behave ----


def test_a_published_heartbeat_reaches_the_reception_unchanged(
    intake: EmbeddedIntake, ledger: Ledger
) -> None:
    with channel_to(intake) as channel:
        publish(channel)
        assert ledger.waits_for(1) == [HEARTBEAT]


def test_an_agent_that_connects_anew_for_each_heartbeat_loses_none(
    intake: EmbeddedIntake, ledger: Ledger
) -> None:
    bodies = [b"%d" % number for number in range(30)]
    for body in bodies:
        with channel_to(intake) as channel:
            publish(channel, body)
    assert sorted(ledger.waits_for(30)) == sorted(bodies)


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 65536])
@pytest.mark.parametrize("frame_max", [4096, 131072])
def test_bodies_of_all_sizes_arrive_whole(
    intake: EmbeddedIntake, ledger: Ledger, size: int, frame_max: int
) -> None:
    body = bytes(number % 251 for number in range(size))
    with channel_to(intake, frame_max=frame_max) as channel:
        channel.confirm_delivery()
        publish(channel, body)
    assert ledger.bodies == [body]


def test_a_confirmed_message_is_stored_before_its_publisher_is_told(
    intake: EmbeddedIntake, ledger: Ledger
) -> None:
    with channel_to(intake) as channel:
        channel.confirm_delivery()
        for number in range(1, 6):
            publish(channel)
            assert len(ledger.bodies) == number


def test_mandatory_messages_are_never_returned(intake: EmbeddedIntake, ledger: Ledger) -> None:
    with channel_to(intake) as channel:
        channel.confirm_delivery()
        channel.basic_publish("shoal", "info", HEARTBEAT, mandatory=True)
    assert ledger.bodies == [HEARTBEAT]


def test_messages_published_ahead_of_their_confirms_arrive_in_order(
    intake: EmbeddedIntake, ledger: Ledger
) -> None:
    bodies = [b"%d" % number for number in range(1000)]
    with Raw(intake) as raw:
        raw.log_in()
        raw.send(commands.Confirm.Select(), 1)
        raw.expect(commands.Confirm.SelectOk)
        raw.write(b"".join(publishing(body) for body in bodies))
        settled = 0
        while settled < len(bodies):
            ack = raw.expect(commands.Basic.Ack)
            assert ack.delivery_tag > settled
            assert ack.multiple or ack.delivery_tag == settled + 1
            settled = ack.delivery_tag
    assert settled == len(bodies)
    assert ledger.bodies == bodies


def test_a_kept_connection_lives_by_its_heartbeats(intake: EmbeddedIntake, ledger: Ledger) -> None:
    with channel_to(intake, heartbeat=1) as channel:
        channel.connection.sleep(2.6)  # past the two heartbeats after which a silent peer is cut off
        publish(channel)
        ledger.waits_for(1)


def test_py_amqp_publishes_with_and_without_confirms(intake: EmbeddedIntake, ledger: Ledger) -> None:
    host, port = intake.address
    for confirm in (False, True):
        with amqp.Connection(
            f"{host}:{port}", confirm_publish=confirm, connect_timeout=DEADLINE
        ) as connection:
            channel = connection.channel()
            channel.exchange_declare("shoal", "topic", durable=False, auto_delete=False)
            for body in (b"", HEARTBEAT, b"x" * 65536):
                channel.basic_publish(
                    amqp.Message(body, content_type="application/json"), "shoal", "elephant.info"
                )
    assert ledger.waits_for(6) == [b"", HEARTBEAT, b"x" * 65536] * 2


def test_a_heartbeat_comes_in_over_tls(ledger: Ledger) -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    with (
        listening(ledger, ssl_context=server) as intake,
        channel_to(intake, ssl_options=pika.SSLOptions(client, "127.0.0.1")) as channel,
    ):
        channel.confirm_delivery()
        publish(channel, b"x" * 65536)
        assert len(ledger.bodies) == 1


def test_plain_clients_of_a_tls_port_and_tls_clients_of_a_plain_port_are_turned_away(ledger: Ledger) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(server)
    with listening(ledger, ssl_context=server) as intake, pytest.raises(pika.exceptions.AMQPConnectionError):
        pika.BlockingConnection(parameters(intake))
    with (
        listening(ledger) as intake,
        socket.create_connection(intake.address, DEADLINE) as plain,
        pytest.raises(ssl.SSLError),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname="127.0.0.1")


# ---- who may come in, and what there is ----


def test_a_wrong_password_is_told_as_an_authentication_error(intake: EmbeddedIntake) -> None:
    with pytest.raises(pika.exceptions.ProbableAuthenticationError, match="403"):
        pika.BlockingConnection(parameters(intake, password="wrong"))


def test_without_configured_credentials_anyone_may_publish(ledger: Ledger) -> None:
    with listening(ledger, credentials=None) as intake, channel_to(intake, password="anything") as channel:
        publish(channel)
        ledger.waits_for(1)


def test_any_virtual_host_will_do_unless_one_is_configured(ledger: Ledger) -> None:
    with listening(ledger) as intake, channel_to(intake, virtual_host="elsewhere") as channel:
        publish(channel)
        ledger.waits_for(1)
    with (
        listening(ledger, virtual_host="/") as intake,
        pytest.raises(pika.exceptions.ProbableAccessDeniedError, match="530"),
    ):
        pika.BlockingConnection(parameters(intake, virtual_host="elsewhere"))


def test_an_unknown_exchange_closes_the_channel_and_leaves_the_connection(
    intake: EmbeddedIntake, ledger: Ledger
) -> None:
    with channel_to(intake) as channel:
        channel.confirm_delivery()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
            publish(channel, exchange="shaol")
        assert caught.value.reply_code == 404
        publish(channel.connection.channel())
        assert ledger.waits_for(1) == [HEARTBEAT]


@pytest.mark.parametrize("durable", [False, True])
def test_declaring_the_exchange_again_is_fine(intake: EmbeddedIntake, ledger: Ledger, durable: bool) -> None:
    with channel_to(intake) as channel:
        channel.exchange_declare("shoal", passive=True)
        channel.exchange_declare("shoal", "topic", durable=durable)
        channel.basic_qos(prefetch_count=10)
        publish(channel)
        ledger.waits_for(1)


@pytest.mark.parametrize(
    ("name", "kind", "passive", "code"),
    [("shoal", "fanout", False, 406), ("other", "topic", True, 404), ("other", "topic", False, 403)],
)
def test_an_exchange_that_is_not_ours_cannot_be_declared(
    intake: EmbeddedIntake, name: str, kind: str, passive: bool, code: int
) -> None:
    with channel_to(intake) as channel, pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
        channel.exchange_declare(name, kind, passive=passive)
    assert caught.value.reply_code == code


@pytest.mark.parametrize(
    "ask",
    [
        lambda channel: channel.queue_declare("q"),
        lambda channel: channel.basic_get("q"),
        lambda channel: channel.tx_select(),
        lambda channel: channel.exchange_delete("shoal"),
    ],
)
def test_what_needs_a_broker_is_refused_by_name(
    intake: EmbeddedIntake, ask: Callable[[BlockingChannel], object]
) -> None:
    with channel_to(intake) as channel, pytest.raises(pika.exceptions.ConnectionClosedByBroker) as caught:
        ask(channel)
    assert caught.value.reply_code == 540
    assert "a broker is needed" in caught.value.reply_text


def test_an_occupied_port_is_named_in_the_error(intake: EmbeddedIntake, ledger: Ledger) -> None:
    host, port = intake.address
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}"):
        EmbeddedIntake(host, port, ledger, credentials=None).start()


# ---- the store ----


def test_when_the_store_is_away_a_confirming_publisher_is_told_and_later_served(
    intake: EmbeddedIntake, ledger: Ledger
) -> None:
    ledger.broken = True
    with channel_to(intake) as channel:
        channel.confirm_delivery()
        with pytest.raises(pika.exceptions.NackError):
            publish(channel, b"lost")
        ledger.broken = False
        publish(channel, b"stored")
    assert ledger.bodies == [b"stored"]


def test_when_the_store_is_away_unconfirmed_messages_are_dropped_and_later_ones_stored(
    intake: EmbeddedIntake, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.broken = True
    with channel_to(intake) as channel:
        publish(channel, b"lost")
        until(lambda: "are dropped" in caplog.text, "refused")
        ledger.broken = False
        publish(channel, b"stored")
        assert ledger.waits_for(1) == [b"stored"]


def test_what_gathered_behind_a_refused_batch_is_dropped_with_it(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(ledger, Limits(batch=5)) as intake, channel_to(intake) as channel:
        ledger.broken = True
        ledger.open.clear()
        for _ in range(50):
            publish(channel, b"old")
        channel.exchange_declare("shoal", passive=True)  # its answer comes after all that was sent before
        ledger.open.set()
        until(lambda: "are dropped" in caplog.text, "refused")
        ledger.broken = False
        publish(channel, b"new")
        assert ledger.waits_for(1) == [b"new"]
        assert ledger.tried == 2


def test_an_outage_costs_two_log_lines_and_the_second_counts_what_was_lost(
    intake: EmbeddedIntake, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.broken = True
    with channel_to(intake) as channel:
        channel.confirm_delivery()
        for _ in range(3):
            with pytest.raises(pika.exceptions.NackError):
                publish(channel)
        ledger.broken = False
        publish(channel)
        until(lambda: "stored again" in caplog.text, "recovery logged")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("shoal_server")]
    assert lines == [
        "heartbeats are dropped: store: connection refused",
        "heartbeats are stored again; 3 were dropped",
    ]


def test_a_reception_that_breaks_costs_its_batch_and_not_the_intake(
    intake: EmbeddedIntake, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with channel_to(intake) as channel:
        channel.confirm_delivery()
        with monkeypatch.context() as patched:
            patched.setattr(ledger, "take", lambda _: 1 / 0)
            with pytest.raises(pika.exceptions.NackError):
                publish(channel, b"poison")
        publish(channel, b"good")
    assert ledger.bodies == [b"good"]
    assert "broke the reception" in caplog.text


def test_a_slow_store_stops_reading_and_cuts_nobody_off(ledger: Ledger) -> None:
    limits = Limits(max_waiting_bytes=500_000, batch=5, idle_seconds=1.0)
    stream = publishing(b"x" * 60_000) * 400
    ledger.open.clear()
    with listening(ledger, limits) as intake, channel_to(intake) as idle, Raw(intake) as raw:
        raw.log_in()
        writer = threading.Thread(target=raw.write, args=(stream,))
        writer.start()
        ledger.waits_for_a_try()
        idle.connection.sleep(1.6)
        assert writer.is_alive(), "24 MB were read while nothing was stored"
        publish(idle)
        ledger.open.set()
        assert HEARTBEAT in ledger.waits_for(401)
        writer.join(DEADLINE)


def test_a_published_heartbeat_is_on_the_list() -> None:
    store = MemoryStore()
    reception = Reception(Registry(store, LivenessRules()), placed=lambda _: False)
    with listening(reception) as intake, channel_to(intake) as channel:
        channel.confirm_delivery()
        publish(channel, b"no heartbeat")
        publish(channel)
        assert [squid.beat for squid in store.squids()] == [SQUID]


# ---- the end ----


def test_stop_ends_within_a_second_and_tells_the_peers(ledger: Ledger) -> None:
    with listening(ledger) as intake, ExitStack() as stack:
        channels = [stack.enter_context(channel_to(intake)) for _ in range(5)]
        silent = [stack.enter_context(Raw(intake)) for _ in range(50)]
        was_connected = intake.connected
        began = time.monotonic()
        intake.stop()
        assert time.monotonic() - began < 1.0
        assert was_connected
        assert not intake.connected
        for channel in channels:
            with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as caught:
                channel.connection.process_data_events(time_limit=DEADLINE)
            assert caught.value.reply_code == 320
        assert all(raw.rest() == b"" for raw in silent)


def test_stop_ends_within_a_second_while_the_store_hangs(ledger: Ledger) -> None:
    with listening(ledger) as intake, channel_to(intake) as channel:
        ledger.open.clear()
        publish(channel)
        ledger.waits_for_a_try()
        began = time.monotonic()
        intake.stop()
        assert time.monotonic() - began < 1.0


def test_what_was_published_before_the_stop_is_stored(ledger: Ledger) -> None:
    with listening(ledger) as intake, channel_to(intake) as channel:
        ledger.open.clear()
        publish(channel)
        ledger.waits_for_a_try()
        channel.exchange_declare("shoal", passive=True)
        threading.Timer(0.1, ledger.open.set).start()
        intake.stop()
    assert ledger.bodies == [HEARTBEAT]


# ---- hostile peers ----


def method(value: base.Frame, number: int = 1) -> bytes:
    return frame.marshal(value, number)


def publishing(body: bytes, announced: int | None = None, properties: bytes = b"\0\0") -> bytes:
    """A whole Basic.Publish on channel 1."""
    size = len(body) if announced is None else announced
    head = struct.pack(">HHQ", 60, 0, size) + properties
    content = b"" if not body else frame.marshal(ContentBody(body), 1)
    return method(commands.Basic.Publish(exchange="shoal", routing_key="info")) + framed(2, 1, head) + content


def framed(kind: int, number: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, number, len(payload)) + payload + b"\xce"


def nested(depth: int) -> bytes:
    """A field table in a field table in a field table."""
    table = b""
    for _ in range(depth):
        table = b"\x00F" + struct.pack(">I", len(table)) + table
    return struct.pack(">I", len(table)) + table


def login(response: bytes = LOGIN) -> bytes:
    """What a client sends from its first byte to an open channel 1, without waiting for an answer."""
    return b"".join(
        (
            PROTOCOL_HEADER,
            method(commands.Connection.StartOk(response=response.decode()), 0),
            method(commands.Connection.TuneOk(1, 131072, 0), 0),
            method(commands.Connection.Open("/"), 0),
            method(commands.Channel.Open(), 1),
        )
    )


class Raw:
    """A client that sends what it is told to."""

    def __init__(self, intake: EmbeddedIntake, receive_buffer: int | None = None) -> None:
        self._socket = socket.socket()
        self._socket.settimeout(DEADLINE)
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.connect(intake.address)
        self._unread = b""

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send(self, value: base.Frame, number: int = 0) -> None:
        self.write(frame.marshal(value, number))

    def log_in(self) -> None:
        self.write(login())
        self.expect(commands.Channel.OpenOk)

    def expect(self, kind: type[M]) -> M:
        while not isinstance(value := self._next(), kind):
            pass
        return value

    def _next(self) -> frame.FrameTypes:
        while len(self._unread) < 7 or len(self._unread) < 8 + struct.unpack_from(">I", self._unread, 3)[0]:
            data = self._socket.recv(65536)
            assert data, "the listener closed the connection"
            self._unread += data
        used, _, value = frame.unmarshal(self._unread)
        self._unread = self._unread[used:]
        return value

    def rest(self) -> bytes:
        """All that still comes until the listener closes."""
        received = self._unread
        with suppress(ConnectionResetError):
            while data := self._socket.recv(65536):
                received += data
        return received


HOSTILE = {
    "frame of an unknown type": framed(7, 1, b"x"),
    "frame without its end": struct.pack(">BHI", 1, 0, 4) + b"xxxxx",
    "frame larger than agreed": struct.pack(">BHI", 3, 1, 1 << 31),
    "method frame of 9 kB": struct.pack(">BHI", 1, 1, 9000),
    "heartbeat with a body": framed(8, 0, b"x"),
    "unknown method": framed(1, 1, b"\xff\xff\xff\xff"),
    "empty method frame": framed(1, 1, b""),
    "truncated method": framed(1, 1, struct.pack(">HH", 60, 40)),
    "nested tables in a method": framed(
        1, 1, struct.pack(">HHH", 40, 10, 0) + b"\x05shoal\x05topic\x00" + nested(900)
    ),
    "nested tables in a header": publishing(b"", 5, b"\x20\x00" + nested(900)),
    "date beyond all calendars": publishing(b"", 5, b"\x00\x40" + b"\xff" * 8),
    "header of another class": method(commands.Basic.Publish(exchange="shoal")) + framed(2, 1, b"\0" * 14),
    "body before its header": method(commands.Basic.Publish(exchange="shoal")) + framed(3, 1, b"x"),
    "body nobody announced": framed(3, 1, b"x"),
    "body on a closed channel": framed(3, 9, b"x"),
    "body longer than announced": publishing(b"xxx", 2),
    "method amid a message": publishing(b"x", 9) + method(commands.Basic.Publish(exchange="shoal")),
    "channel beyond the agreed": method(commands.Channel.Open(), 2),
    "channel opened twice": method(commands.Channel.Open()),
    "handshake method again": method(commands.Connection.Open("/"), 0),
    "channel method on channel 0": method(commands.Basic.Qos(), 0),
}


@pytest.mark.parametrize("attack", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_malformed_stream_costs_only_its_own_connection(
    intake: EmbeddedIntake, ledger: Ledger, attack: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with channel_to(intake) as channel, Raw(intake) as raw:
        raw.log_in()
        raw.write(attack)
        closed = raw.expect(commands.Connection.Close)
        assert closed.reply_code in range(501, 531)
        raw.send(commands.Connection.CloseOk())
        assert raw.rest() == b""
        publish(channel)
        assert ledger.waits_for(1) == [HEARTBEAT]
    assert len([record for record in caplog.records if record.name.startswith("shoal_server")]) == 1
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.parametrize(
    "greeting",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01", b"AMQP\x00\x01\x00\x00", b"\n", b"\0" * 100_000],
)
def test_who_speaks_another_protocol_gets_the_header_and_the_door(
    intake: EmbeddedIntake, greeting: bytes
) -> None:
    with Raw(intake) as raw:
        raw.write(greeting)
        assert PROTOCOL_HEADER.startswith(raw.rest())


@pytest.mark.parametrize(
    "early",
    [
        struct.pack(">BHI", 1, 0, 100_000),
        struct.pack(">BHI", 3, 1, 100_000),
        publishing(b"x"),
        method(commands.Connection.Open("/"), 0),
        framed(1, 0, struct.pack(">HH", 10, 11) + nested(900) + b"\x05PLAIN"),
    ],
)
def test_before_the_login_nothing_else_is_accepted(
    intake: EmbeddedIntake, ledger: Ledger, early: bytes
) -> None:
    with Raw(intake) as raw:
        raw.write(PROTOCOL_HEADER + early)
        assert raw.expect(commands.Connection.Close).reply_code in (501, 502, 503, 504)
    assert ledger.tried == 0


def test_a_message_too_large_is_refused_by_its_header(intake: EmbeddedIntake, ledger: Ledger) -> None:
    with channel_to(intake) as channel:
        channel.confirm_delivery()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
            publish(channel, b"x" * 500_000)
        assert caught.value.reply_code == 311
        publish(channel.connection.channel())
        assert ledger.waits_for(1) == [HEARTBEAT]


def test_half_open_connections_by_the_hundred_do_not_delay_a_publisher(ledger: Ledger) -> None:
    with listening(ledger, Limits(max_unauthenticated=100)) as intake, ExitStack() as stack:
        for number in range(300):
            raw = stack.enter_context(Raw(intake))
            raw.write(PROTOCOL_HEADER[: number % 9])
        with channel_to(intake, socket_timeout=2.0) as channel:
            channel.confirm_delivery()
            publish(channel)
    assert ledger.bodies == [HEARTBEAT]


def test_a_full_house_turns_out_strangers_first_then_who_has_long_been_silent(ledger: Ledger) -> None:
    with listening(ledger, Limits(max_connections=3)) as intake, ExitStack() as stack:
        quiet, lively = (stack.enter_context(Raw(intake)) for _ in range(2))
        quiet.log_in()
        lively.log_in()
        lively.write(publishing(b"a"))
        ledger.waits_for(1)
        stranger = stack.enter_context(Raw(intake))
        newcomer = stack.enter_context(Raw(intake))
        assert stranger.rest() == b""
        newcomer.log_in()
        stack.enter_context(Raw(intake)).log_in()
        quiet.rest()
        lively.write(publishing(b"b"))
        assert ledger.waits_for(2) == [b"a", b"b"]


def test_an_unfinished_handshake_is_cut_off(ledger: Ledger) -> None:
    limits = Limits(handshake_seconds=0.3)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(server)
    for context in (None, server):
        with listening(ledger, limits, context) as intake, Raw(intake) as raw:
            assert raw.rest() == b""
    with listening(ledger, limits) as intake, Raw(intake) as raw:
        raw.write(PROTOCOL_HEADER)
        raw.expect(commands.Connection.Start)
        assert raw.rest() == b""


def test_a_silent_peer_is_cut_off_with_and_without_heartbeats(ledger: Ledger) -> None:
    with listening(ledger, Limits(idle_seconds=0.3)) as intake, Raw(intake) as raw:
        raw.log_in()
        assert raw.rest() == b""
    with listening(ledger) as intake, Raw(intake) as raw:
        raw.write(
            login().replace(
                method(commands.Connection.TuneOk(1, 131072, 0), 0),
                method(commands.Connection.TuneOk(1, 131072, 1), 0),
            )
        )
        raw.expect(commands.Channel.OpenOk)
        beats = raw.rest()
        assert beats
        assert set(beats.split(b"\xce")) == {framed(8, 0, b"")[:-1], b""}


def test_a_peer_that_reads_no_answers_is_neither_read_from_nor_kept(ledger: Ledger) -> None:
    with listening(ledger, Limits(stall_seconds=0.3)) as intake, Raw(intake, receive_buffer=4096) as raw:
        raw.log_in()
        long_answer = method(commands.Basic.Publish(exchange="x" * 120))
        reopening = method(commands.Channel.Close(0, "", 0, 0)) + method(commands.Channel.Open())
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            raw.write((long_answer + reopening) * 100_000)


def test_after_ten_thousand_hostile_messages_the_next_good_one_arrives(
    intake: EmbeddedIntake, ledger: Ledger
) -> None:
    hostile = (
        b"\x00\xff",
        b"{" * 500,
        b"[" * 200,
        b'"',
        b'{"load": "; rm -rf /"}',
        b"\n" * 80,
        b"",
        b"NaN",
        b"1e999",
        b"\xce" * 9,
    )
    with Raw(intake) as raw:
        raw.log_in()
        raw.write(b"".join(map(publishing, hostile)) * 1000 + publishing(HEARTBEAT))
        assert ledger.waits_for(10_001)[-1] == HEARTBEAT


def test_many_bad_peers_are_counted_and_not_each_logged(
    intake: EmbeddedIntake, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(50):
        with Raw(intake) as raw:
            raw.write(b"GET /\x1b[31m\nfake log line")
            raw.rest()
    lines = [
        record.getMessage() for record in caplog.records if "no AMQP 0-9-1 client" in record.getMessage()
    ]
    assert len(lines) == 10
    assert not any("\n" in line or "\x1b" in line for line in lines)


# ---- the protocol alone ----


def recorded() -> bytes:
    """The stream of a publisher that does everything a publisher does."""
    return b"".join(
        (
            login(),
            method(
                commands.Exchange.Declare(
                    exchange="shoal", exchange_type="topic", arguments={"a": {"b": [1, "x"]}}
                )
            ),
            method(commands.Confirm.Select()),
            publishing(HEARTBEAT),
            framed(8, 0, b""),
            method(commands.Basic.Publish(exchange="shoal", routing_key="info")),
            frame.marshal(
                header.ContentHeader(0, 5, commands.Basic.Properties("application/json", headers={"x": 1})), 1
            ),
            frame.marshal(ContentBody(b"12"), 1),
            frame.marshal(ContentBody(b"345"), 1),
            method(commands.Channel.Close(0, "", 0, 0)),
            method(commands.Connection.Close(0, "", 0, 0), 0),
        )
    )


@given(cuts=st.lists(st.integers(1, len(recorded())), max_size=8))
def test_a_stream_means_the_same_however_it_is_cut(cuts: list[int]) -> None:
    stream, session = recorded(), Session(Terms(credentials=GUEST))
    edges = [0, *sorted(cuts), len(stream)]
    results = [session.receive(stream[start:end]) for start, end in pairwise(edges)]
    assert [delivery.body for result in results for delivery in result.deliveries] == [HEARTBEAT, b"12345"]
    assert not [problem for result in results for problem in result.troubles]
    assert session.stage is Stage.FINISHED


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_mutated_stream_raises_nothing_and_buffers_little(data: st.DataObject) -> None:
    stream = bytearray(recorded())
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(8, len(stream) - 1))
        match data.draw(st.sampled_from(("change", "insert", "remove"))):
            case "change":
                stream[place] = data.draw(st.integers(0, 255))
            case "insert":
                stream[place:place] = data.draw(st.binary(max_size=20))
            case _:
                del stream[place : place + data.draw(st.integers(1, 20))]
    session = Session(Terms(credentials=None))
    for start in range(0, len(stream), 50):
        result = session.receive(bytes(stream[start : start + 50]))
        session.settle([delivery.confirm for delivery in result.deliveries if delivery.confirm], stored=True)
    assert len(session._reader._buffer) <= len(stream)


def test_confirms_of_a_closed_channel_do_not_reach_its_successor() -> None:
    session = Session(Terms(credentials=None))
    opened = login() + method(commands.Confirm.Select()) + publishing(b"1")
    (delivery,) = session.receive(opened).deliveries
    session.receive(method(commands.Channel.Close(0, "", 0, 0)) + method(commands.Channel.Open()))
    assert delivery.confirm is not None
    assert session.settle([delivery.confirm], stored=True) == b""


def test_a_session_closed_by_us_ignores_what_still_arrives() -> None:
    session = Session(Terms(credentials=None))
    session.receive(login())
    assert session.dismiss("bye")
    assert not session.receive(publishing(b"late")).deliveries
    session.receive(method(commands.Connection.CloseOk(), 0))
    assert session.stage is Stage.FINISHED
