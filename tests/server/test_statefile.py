"""The file in which a server with a memory of its own keeps what it knows."""

import os
import threading
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
