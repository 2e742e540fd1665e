"""The life of a service, shown on Redis, the quickest of them."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from testbed.ports import accepts, free_port
from testbed.process import ROOT, Missing, Service, StartError, wait_until
from testbed.redis import Redis
from tests.testbed.leftovers import living

StartRedis = Callable[..., Redis]


class _Absent(Service):
    program = "no-such-program"
    package = "no-such-package"

    def command(self) -> list[str]:
        return [self.executable()]

    def is_ready(self) -> bool:
        return True


class _Broken(_Absent):
    program = "sh"

    def command(self) -> list[str]:
        return [self.executable(), "-c", "echo this is why; exit 3"]

    def is_ready(self) -> bool:
        return False


class _Silent(_Broken):
    ready_within = 0.2

    def command(self) -> list[str]:
        return [self.executable(), "-c", "echo still thinking; sleep 60 & wait"]

    def environment(self) -> dict[str, str]:
        return super().environment() | {"MARK": str(self.directory)}

    def is_ready(self) -> bool:
        self.seen = living(f"MARK={self.directory}")
        return False


def test_two_free_ports_are_never_the_same() -> None:
    assert len({free_port() for _ in range(20)}) == 20


def test_a_port_given_to_one_process_is_given_to_no_other() -> None:
    script = "from testbed.ports import free_ports; print(*free_ports(5)); input()"
    command = [sys.executable, "-c", script]
    with ExitStack() as stack:
        others = [
            stack.enter_context(
                subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(8)
        ]
        given = [int(port) for other in others if other.stdout for port in other.stdout.readline().split()]
        for other in others:
            other.communicate("\n")
    assert len({port - port % 50 for port in given}) == 8


def test_services_become_ready_side_by_side(tmp_path: Path) -> None:
    servers = [Redis(tmp_path / name) for name in ("one", "two")]
    for server in servers:
        server.begin()
    assert all(server.running for server in servers)
    for server in servers:
        with server:
            assert server.is_ready()


def test_a_missing_program_is_named_with_its_package(tmp_path: Path) -> None:
    assert not _Absent.available()
    with pytest.raises(Missing, match=r"no-such-program.*apt-get install.*no-such-package"):
        _Absent(tmp_path).start()


def test_a_service_that_ends_at_its_start_is_reported_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="this is why"):
        _Broken(tmp_path).start()


def test_a_service_that_never_gets_ready_is_reported_and_ended_with_its_children(tmp_path: Path) -> None:
    service = _Silent(tmp_path)
    with pytest.raises(StartError, match=r"not ready in 0.2 s:\nstill thinking"):
        service.start()
    assert not service.running
    assert len(service.seen) == 2
    assert living(f"MARK={tmp_path}") == []


def test_a_stopped_service_is_gone_and_its_port_is_closed(start_redis: StartRedis) -> None:
    server = start_redis()
    assert accepts(server.host, server.port)
    assert living(f"127.0.0.1:{server.port}")
    server.stop()
    assert not server.running
    assert not accepts(server.host, server.port)
    assert living(f"127.0.0.1:{server.port}") == []


def test_a_killed_service_comes_back_on_its_port_without_its_data(start_redis: StartRedis) -> None:
    server = start_redis()
    with redis.Redis.from_url(server.url) as client:
        client.set("a", 1)
        server.kill()
        server.start()
        assert client.get("a") is None


def test_a_persistent_redis_keeps_its_data_over_a_kill(start_redis: StartRedis) -> None:
    server = start_redis(persistent=True)
    with redis.Redis.from_url(server.url) as client:
        client.set("a", 1)
        server.kill()
        server.start()
        assert client.get("a") == b"1"


def test_a_paused_service_accepts_and_answers_nothing_until_it_is_resumed(start_redis: StartRedis) -> None:
    server = start_redis()
    server.pause()
    assert accepts(server.host, server.port)
    assert not server.is_ready()
    server.resume()
    assert server.is_ready()


def test_a_paused_service_can_be_stopped(start_redis: StartRedis) -> None:
    server = start_redis()
    server.pause()
    server.stop()
    assert not server.running


def test_a_service_started_twice_is_the_same_process(start_redis: StartRedis) -> None:
    server = start_redis()
    pid = server.pid
    assert server.start().pid == pid


def test_a_service_outlives_the_thread_that_started_it(start_redis: StartRedis) -> None:
    started: list[Redis] = []
    thread = threading.Thread(target=lambda: started.append(start_redis()))
    thread.start()
    thread.join()
    assert started[0].is_ready()


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit()", "1 / 0"])
def test_a_service_dies_with_the_process_that_started_it(
    new_directory: Callable[[str], Path], end: str
) -> None:
    if not Redis.available():
        pytest.skip(str(Missing(Redis.program, Redis.package)))
    server = Redis(new_directory("redis"))
    program = (
        "import os, signal, sys; from pathlib import Path; from testbed.redis import Redis\n"
        f"Redis(Path({str(server.directory)!r}), port={server.port}).start(); {end}"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, stderr=subprocess.DEVNULL)
    assert server.log.exists()
    wait_until(lambda: not living(f"127.0.0.1:{server.port}"), 5.0, "redis dies with its parent")


def test_a_crash_from_outside_is_noticed(start_redis: StartRedis) -> None:
    server = start_redis()
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.running, 5.0, "the end of the process is seen")
    assert server.start().is_ready()
