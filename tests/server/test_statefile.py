"""The file in which a server with a memory of its own keeps what it knows."""

import logging
import os
import re
import resource
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from shoal_server.registry import Registry
from shoal_server.squid import LivenessRules
from shoal_server.stores.memory import MemoryStore
from shoal_server.stores.statefile import StateFile
from tests.fakes import NOW, beat


def test_the_last_save_waits_for_one_that_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that wrote one file at once would leave a part of it, and a server that is killed then nothing."""
    store, path = MemoryStore(), tmp_path / "squids"
    state, registry = StateFile(store, path), Registry(store, LivenessRules())
    registry.hear([beat()], NOW)
    together, met, sync = threading.Barrier(2), [], os.fsync

    def slow(handle: int) -> None:
        with suppress(threading.BrokenBarrierError):
            met.append(together.wait(0.5))
        sync(handle)

    monkeypatch.setattr(os, "fsync", slow)
    saves = [threading.Thread(target=state.save) for _ in range(2)]
    for save in saves:
        save.start()
    for save in saves:
        save.join(10)
    assert met == []
    assert len(path.read_text().splitlines()) == 1


def seen(text: bytes) -> Callable[[bytes], bytes]:
    """A line with something else where the time of the last heartbeat was."""
    return lambda line: re.sub(rb'"seen": [0-9.]+', b'"seen": ' + text, line)


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace(b'"beat"', b'"be\xff"'),
        lambda line: line[: len(line) // 2],
        lambda line: b"[" * 100_000,
        lambda line: b"\0" * len(line),
        seen(b"1" + b"0" * 400),
        seen(b"NaN"),
        seen(b"null"),
    ],
)
def test_a_damaged_line_costs_that_squid_alone(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path, store = tmp_path / "squids", MemoryStore()
    state = StateFile(store, path)
    Registry(store, LivenessRules()).hear([beat(), beat(uuid="b", public_ip="192.0.2.2")], NOW)
    state.save()
    first, second = path.read_bytes().splitlines()
    path.write_bytes(damage(first) + b"\n" + second + b"\n")
    again = MemoryStore()
    StateFile(again, path).load()
    assert [one.id for one in again.squids()] == ["192.0.2.2:3128"]


def test_a_disk_that_is_full_for_days_costs_the_news_and_two_log_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, store = tmp_path / "squids", MemoryStore()
    state, registry = StateFile(store, path), Registry(store, LivenessRules())
    registry.hear([beat()], NOW)
    state.save()
    before = path.read_bytes()
    registry.hear([beat(uuid=f"u{n}", public_ip=f"192.0.2.{n}") for n in range(2, 100)], NOW)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    with caplog.at_level(logging.WARNING, "shoal_server.stores.statefile"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before), usual[1]))
        try:
            for _ in range(3):
                state.save()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        assert path.read_bytes() == before
        state.save()
    assert len(path.read_bytes().splitlines()) == 99
    assert len(caplog.records) == 2
