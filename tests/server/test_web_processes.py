"""The web side in processes of its own: they answer, are replaced when they die, end with their parent."""

import http.client
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from shoal_common.errors import SettingsError, Unavailable
from shoal_common.hosts import HostPort
from shoal_server.build import Role, build
from shoal_server.registry import Registry
from shoal_server.settings import ServerSettings
from shoal_server.squid import LivenessRules
from shoal_server.stores.redis import RedisStore
from shoal_server.web.processes import WebProcesses
from testbed.ports import free_port
from testbed.process import wait_until
from testbed.program import ShoalServer
from tests.fakes import GOOD, beat

LOCATIONS = "network,site,latitude,longitude\n127.0.0.0/8,here,48.5,-123.3\n"
HALF_OPEN = 400


@pytest.fixture
def server(tmp_path: Path, redis_url: str) -> Iterator[ShoalServer]:
    store = RedisStore.from_url(redis_url)
    now = time.time()
    Registry(store, LivenessRules()).hear([replace(beat(), timestamp=now)], now)
    store.put_verification("192.0.2.1:3128", replace(GOOD, checked=now, due=now + 300), [])
    flags = ["--workers", "2", "web"]
    origin = f"http://127.0.0.1:{free_port()}/cvmfs/a.example.org/.cvmfspublished"
    running = ShoalServer(tmp_path, cvmfs_url=origin, locations=LOCATIONS, store=redis_url, flags=flags)
    with running:
        wait_until(lambda: b"sq1.example.org" in read(running), 20.0, "the squid told")
        yield running


def read(server: ShoalServer, path: str = "/nearest") -> bytes:
    with suppress(OSError):
        connection = http.client.HTTPConnection(server.host, server.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()
    return b""


def descendants(pid: int) -> set[int]:
    """All processes under one."""
    found: set[int] = set()
    with suppress(FileNotFoundError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            found |= {child} | descendants(child)
    return found


def workers(server: ShoalServer) -> set[int]:
    """Those that answer: the last in the line."""
    return {pid for pid in descendants(server.pid) if is_worker(pid)}


def is_worker(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes() and not descendants(pid)
    return False


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_lookups_pages_and_errors_are_answered(server: ShoalServer) -> None:
    assert b"sq1.example.org" in read(server, "/nearest/3")
    assert b"<table" in read(server, "/")
    assert b'"status"' in read(server, "/healthz")
    assert b'"detail"' in read(server, "/api/v1/nearest?count=x")


def test_a_worker_that_dies_is_replaced(server: ShoalServer) -> None:
    wait_until(lambda: len(workers(server)) == 2, 10.0, "two workers")
    victim = min(workers(server))
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(workers(server) - {victim}) == 2, 15.0, "two workers again")
    wait_until(lambda: b"sq1.example.org" in read(server), 10.0, "an answer")


def test_all_end_within_two_seconds_of_a_signal(server: ShoalServer) -> None:
    everyone = descendants(server.pid)
    began = time.monotonic()
    os.kill(server.pid, signal.SIGTERM)
    wait_until(lambda: gone(server.pid), 10.0, "the end")
    assert time.monotonic() - began < 2.0
    wait_until(lambda: all(gone(pid) for pid in everyone), 1.0, "the end of all")


def test_none_outlives_a_parent_that_was_killed(server: ShoalServer) -> None:
    everyone = descendants(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: all(gone(pid) for pid in everyone), 10.0, "the end of all")
    wait_until(lambda: not read(server), 5.0, "a closed port")


def test_half_open_connections_hold_nobody_up(server: ShoalServer) -> None:
    with ExitStack() as stack:
        for _ in range(HALF_OPEN):
            peer = stack.enter_context(socket.create_connection((server.host, server.port), timeout=5))
            peer.sendall(b"GET /nearest HTTP/1.1\r\nHost: sho")
        for _ in range(20):
            assert b"sq1.example.org" in read(server)


def test_a_taken_port_is_told(server: ShoalServer) -> None:
    with pytest.raises(Unavailable, match="cannot listen on"):
        WebProcesses(HostPort(server.host, server.port), 1, make=lambda: lambda _environ, _start: [])


WEB_ALONE = ServerSettings(listen=HostPort("127.0.0.1", 0), store="redis://127.0.0.1:1/0", workers=1)


def test_who_only_starts_those_that_answer_keeps_no_list_of_its_own() -> None:
    server = build(WEB_ALONE, [Role.WEB])
    assert (server.loops, server.intake, server.http is not None) == ((), None, True)


def test_a_file_that_cannot_be_used_is_told_before_any_of_them_starts(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing\.csv"):
        build(replace(WEB_ALONE, locations=tmp_path / "missing.csv"), [Role.WEB])
