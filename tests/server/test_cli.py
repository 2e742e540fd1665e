"""The program as operators run it: command line, signals, exit codes, what it says and what it survives."""

import itertools
import os
import re
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pika
import pika.exceptions
import pytest

from shoal_common.version import VERSION
from shoal_server.settings import ServerSettings
from testbed.ports import free_port
from testbed.process import wait_until
from testbed.program import Program
from testbed.rabbitmq import RabbitMQ
from testbed.redis import Redis
from tests.conftest import need
from tests.fakes import GENERATIONS, beat
from tests.server.process import MODULE, ServerProcess, amqp_url, publish, run
from tests.testbed.fetch import fetch

ENDS_WITHIN = 2.0
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
SAVES_WITHIN = 12.0
"""The memory store is saved every ten seconds."""
Start = Callable[..., ServerProcess]


@pytest.fixture
def start(new_directory: Callable[[str], Path]) -> Iterator[Start]:
    """Start a server that lists whatever it hears; more flags may be given."""
    with ExitStack() as stack:

        def begin(*flags: object, amqp: str | None = None) -> ServerProcess:
            server = ServerProcess(new_directory("server"), "--verify", "no", *flags, amqp=amqp)
            return stack.enter_context(server)

        yield begin


@pytest.fixture(scope="module", autouse=True)
def saving(new_directory: Callable[[str], Path]) -> Iterator[ServerProcess]:
    """A server that has heard a squid and will save it: it has time for that while other tests run."""
    directory = new_directory("saving")
    with ServerProcess(directory, "--verify", "no", "--store", f"memory://{directory}/state") as server:
        publish(amqp_url(server), squid(1))
        yield server


def squid(n: int) -> bytes:
    """The heartbeat of squid number n, named sqN."""
    return beat(hostname=f"sq{n}", public_ip=f"192.0.2.{n}", uuid=f"uuid-{n}").encode()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def answer(connection: socket.socket) -> bytes:
    """All that comes until the other side closes, or an error if it breaks off."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def hang_up(publisher: pika.BlockingConnection) -> None:
    """Close a connection whose other side may be gone."""
    with suppress(pika.exceptions.AMQPError):
        publisher.close()


# --- command line -----------------------------------------------------------------------------------


def test_the_version_is_told() -> None:
    ended = run("--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"shoal-server {VERSION}\n", "")


def test_the_help_tells_every_flag_with_its_variable() -> None:
    ended = run("--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    text = " ".join(ended.stdout.split())
    for option in ServerSettings.options():
        assert option.flags[-1] in text
        assert option.variable in text


def test_an_unknown_flag_is_told() -> None:
    ended = run("--colour=red")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == "shoal-server: error: unrecognized arguments: --colour=red"


def test_a_file_that_is_not_there_is_told() -> None:
    ended = run("--config", "/nonexistent/shoal.conf")
    assert ended.returncode == 2
    assert ended.stderr == "shoal-server: /nonexistent/shoal.conf: No such file or directory\n"


def test_all_mistakes_of_file_variables_and_flags_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "shoal_server.conf"
    file.write_text("[squids]\ndead_after = soon\ncolour = red\n")
    ended = run("--config", file, "--listen", "nowhere", SHOAL_VERIFY="maybe")
    assert ended.returncode == 2
    for words in (f"{file}: [squids] dead_after", f"{file}: [squids] colour", "SHOAL_VERIFY", "--listen"):
        assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_listener_for_everybody_without_a_password_is_refused() -> None:
    ended = run("--listen", "127.0.0.1:0", "--amqp", "embedded://0.0.0.0:0")
    assert ended.returncode == 2
    assert "give it user:password@" in ended.stderr


def test_keys_of_older_servers_are_told_in_the_log(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "old.conf"
    file.write_text("[cache]\ncache_inactive_time = 180\n[webpy]\nwebpy_cache = False\n")
    log = start("--config", file).tail(50)
    assert "[cache] cache_inactive_time is now [squids] dead_after" in log
    assert "[webpy] webpy_cache has no effect" in log


# --- ports ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", ["HTTP", "AMQP"])
def test_a_taken_port_is_told_in_one_line(taken: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        listen, amqp = (place, "127.0.0.1:0") if taken == "HTTP" else ("127.0.0.1:0", place)
        ended = run("--listen", listen, "--amqp", f"embedded://{amqp}", "--log-level", "error")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert re.fullmatch(rf"shoal-server: cannot .*{re.escape(place)}.*[Aa]ddress already in use.*", line)


def test_a_free_port_is_found_and_told(new_directory: Callable[[str], Path]) -> None:
    flags = ("--listen", "localhost:0", "--amqp", "embedded://127.0.0.1:0")
    with Program(new_directory("server"), [MODULE], flags) as server:
        told = re.compile(r"listening on port ([1-9][0-9]*) for HTTP")
        wait_until(lambda: bool(told.search(server.tail(50))), 10, "the port in the log")
        found = told.search(server.tail(50))
        assert found
        wait_until(lambda: fetch(f"http://localhost:{found[1]}/nearest").content == b"null", 5, "an answer")


# --- a server with nothing configured -----------------------------------------------------------------


def test_with_nothing_but_ports_it_takes_heartbeats_and_answers(
    new_directory: Callable[[str], Path],
) -> None:
    with ServerProcess(new_directory("server")) as server:
        assert server.get("/nearest").content == b"null"
        publish(amqp_url(server), *GENERATIONS.values())
        wait_until(lambda: len(server.names("/all")) == len(GENERATIONS), 5, "all generations in /all")
        assert server.get("/").ok
        assert server.get("/wpad.dat").text.startswith("function FindProxyForURL")
        assert server.get("/healthz").json()["status"] == "ok"


def test_a_password_is_told_by_nothing_in_the_log(start: Start) -> None:
    server = start("--log-level", "debug", amqp=f"embedded://me:secret@127.0.0.1:{free_port()}")
    publish(amqp_url(server), squid(1))
    server.await_names("sq1")
    assert "me:***@" in server.log.read_text()
    assert "secret" not in server.log.read_text()


def test_a_trusted_proxy_is_believed_for_whom_it_asks(start: Start, tmp_path: Path) -> None:
    table = tmp_path / "locations.csv"
    table.write_text("network,site,latitude,longitude\n192.0.2.1/32,a,50,0\n192.0.2.2/32,b,-50,0\n")
    server = start("--trusted-proxies", "127.0.0.1", "--locations", table)
    publish(amqp_url(server), squid(1), squid(2))
    server.await_names("sq1", "sq2")
    for n in (1, 2):
        told = server.get("/nearest/1", X_Forwarded_For=f"203.0.113.9, 192.0.2.{n}").json()
        assert told["0"]["hostname"] == f"sq{n}"


# --- the end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_ends_it_in_good_order(start: Start, number: signal.Signals) -> None:
    """With a publisher connected, with idle and with half-open HTTP connections."""
    server = start()
    with ExitStack() as stack:
        publisher = pika.BlockingConnection(pika.URLParameters(amqp_url(server)))
        stack.callback(hang_up, publisher)
        for said in (b"", b"GET /nea", b"GET /nearest HTTP/1.1\r\nHost: h\r\n\r\n"):
            stack.enter_context(closing(connect(server.port))).sendall(said)
        assert server.end(number) < ENDS_WITHIN
    assert server.exit_code == 0
    assert "Traceback" not in server.log.read_text()
    assert "ERROR" not in server.log.read_text()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_ends_a_server_whose_broker_and_store_are_away(start: Start, number: signal.Signals) -> None:
    server = start("--store", f"redis://127.0.0.1:{free_port()}/0", amqp=f"amqp://127.0.0.1:{free_port()}/")
    assert server.end(number) < ENDS_WITHIN
    assert server.exit_code == 0


def test_two_signals_end_it_like_one(start: Start) -> None:
    server = start()
    os.kill(server.pid, signal.SIGTERM)
    server.end(signal.SIGINT)
    assert server.exit_code == 0
    assert "Traceback" not in server.log.read_text()


def test_requests_that_were_made_before_the_signal_are_answered(start: Start) -> None:
    """The status page of two hundred squids takes longer to make than a signal to arrive, and six of them are
    made in less than the second that there is for it, on a busy machine too.
    """
    server = start()
    publish(amqp_url(server), *map(squid, range(1, 201)))
    wait_until(lambda: len(server.names("/all")) == 200, 10, "squids in /all")
    with ExitStack() as stack:
        asking = [stack.enter_context(closing(connect(server.port))) for _ in range(6)]
        for connection in asking:
            connection.sendall(b"GET /200 HTTP/1.0\r\n\r\n")
        assert server.end(signal.SIGTERM) < ENDS_WITHIN
        answers = [answer(connection) for connection in asking]
    assert all(text.startswith(b"HTTP/1.0 200 ") for text in answers)
    assert all(text.rstrip().endswith(b"</html>") for text in answers)


def test_no_client_sees_a_broken_answer_while_the_server_ends(start: Start) -> None:
    """One is answered whole, or is not let in at all and can ask another server at once."""
    server = start()
    publish(amqp_url(server), squid(1))
    server.await_names("sq1")
    broken: list[bytes] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            with suppress(OSError), closing(connect(server.port)) as connection:
                connection.sendall(b"GET /nearest HTTP/1.0\r\n\r\n")
                text = answer(connection)
                if text and not text.endswith(b"}}"):
                    broken.append(text)

    workers = [threading.Thread(target=ask) for _ in range(4)]
    for worker in workers:
        worker.start()
    took = server.end(signal.SIGTERM)
    ended.set()
    for worker in workers:
        worker.join()
    assert (broken, server.exit_code) == ([], 0)
    assert took < ENDS_WITHIN


# --- many peers -------------------------------------------------------------------------------------


def test_five_hundred_half_open_connections_delay_nobody(start: Start) -> None:
    server = start()
    publish(amqp_url(server), squid(1))
    server.await_names("sq1")
    halves = itertools.cycle(
        [b"", b"GET /nearest", b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"]
    )
    with ExitStack() as stack:
        for _, said in zip(range(500), halves, strict=False):
            stack.enter_context(closing(connect(server.port))).sendall(said)
        seconds = []
        for _ in range(10):
            began = time.monotonic()
            assert server.names() == {"sq1"}
            seconds.append(time.monotonic() - began)
    assert statistics.median(seconds) < 0.5


def test_nonsense_on_the_http_port_is_answered_with_an_error_and_harms_nobody(start: Start) -> None:
    server = start()
    for said in (
        b"\0" * 100 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"A" * 300_000 + b"\r\n\r\n",
    ):
        with suppress(OSError), closing(connect(server.port)) as connection:  # it may hang up at any point
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
            assert b" 200 " not in answer(connection).partition(b"\r\n")[0]
    assert server.get("/nearest").content == b"null"
    assert "Traceback" not in server.log.read_text()


# --- broker and store away ----------------------------------------------------------------------------


class Relay:
    """Carries connections from a port of its own to another one; before `open` nobody listens there."""

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self._target = port
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def open(self) -> None:
        self._sockets.append(socket.create_server(("127.0.0.1", self.port)))
        self._run(self._accept, self._sockets[0])

    def close(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join()

    def _run(self, target: Callable[..., None], *arguments: socket.socket) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments))
        self._threads[-1].start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near = listener.accept()[0]
                far = connect(self._target)
                far.settimeout(None)
                self._sockets += [near, far]
                self._run(self._carry, near, far)
                self._run(self._carry, far, near)

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def test_it_starts_without_broker_and_store_and_catches_up_when_they_appear(
    start: Start, rabbitmq: RabbitMQ, rabbit_vhost: str, new_directory: Callable[[str], Path]
) -> None:
    need(Redis)
    with closing(Relay(rabbitmq.port)) as relay, ExitStack() as stack:
        redis = Redis(new_directory("redis"))
        server = start(
            *("--store", redis.url),
            amqp=rabbit_vhost.replace(f":{rabbitmq.port}/", f":{relay.port}/"),
        )
        assert server.get("/nearest").content == b"null"
        health = server.get("/healthz").json()
        assert (health["status"], health["intake"], health["store"]) == ("degraded", "away", "away")
        pid = server.pid
        stack.enter_context(redis)
        wait_until(lambda: server.get("/healthz").json()["store"] == "ok", 10, "the store is noticed")
        relay.open()
        wait_until(
            lambda: server.get("/healthz").json()["intake"] == "connected", 10, "the broker is noticed"
        )
        publish(rabbit_vhost, squid(1))
        server.await_names("sq1")
        wait_until(lambda: server.get("/nearest").headers["X-Shoal-State"] == "filling", 10, "answers say so")
        assert server.pid == pid
        assert server.end(signal.SIGTERM) < ENDS_WITHIN


# --- the memory's file --------------------------------------------------------------------------------


def test_a_server_that_is_ended_and_started_again_knows_its_squids(start: Start, tmp_path: Path) -> None:
    server = start("--store", f"memory://{tmp_path}/state")
    publish(amqp_url(server), squid(1), squid(2))
    server.await_names("sq1", "sq2")
    server.end(signal.SIGTERM)
    assert server.exit_code == 0
    server.start()
    server.await_names("sq1", "sq2", within=3)


def test_a_server_that_is_killed_knows_what_it_had_saved(saving: ServerProcess) -> None:
    file = saving.directory / "state"
    wait_until(lambda: file.exists() and "sq1" in file.read_text(), SAVES_WITHIN, "the squid is saved")
    saving.kill()
    saving.start()
    saving.await_names("sq1", within=3)


def test_a_state_file_with_nonsense_in_it_costs_the_nonsense_alone(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "state"
    server = start("--store", f"memory://{file}")
    publish(amqp_url(server), squid(1))
    server.await_names("sq1")
    server.end(signal.SIGTERM)
    file.write_text("nonsense\n" + file.read_text() + '{"beat": 7}\n{"half')
    server.start()
    server.await_names("sq1", within=3)
    assert server.tail(50).count("a line is left out") == 3
