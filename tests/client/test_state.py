"""What is remembered between runs."""

import json
import os
import resource
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from shoal_client import state
from shoal_client.candidates import Candidate, Source
from shoal_client.choice import Preference
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import Upstream
from shoal_common.hosts import HostPort

SQUID = b'{"time": 1, "groups": [[{"proxy": "%b", "squid": "", "distance": %b, "local": 1, "heard": 1}]]}'
CHOICE = state.Remembered(
    1.7e9,
    (
        (Candidate(HostPort("192.0.2.1", 3128), Source.REMEMBERED, "a:3128", 12.5, local=True, heard=True),),
        (
            Candidate(
                HostPort("192.0.2.2", 3128), Source.REMEMBERED, "b:3128", unlisted=1.6e9, announced=1.5e9
            ),
        ),
    ),
)
PREFERRED = Preference(
    (
        frozenset({HostPort("192.0.2.3", 3128)}),
        frozenset({HostPort("192.0.2.2", 3128), HostPort("2001:db8::1", 80)}),
    ),
    1.6e9,
)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    state.save(tmp_path, Upstream.CVMFS, CHOICE)
    assert state.load(tmp_path, Upstream.CVMFS) == CHOICE
    assert state.load(tmp_path, Upstream.FRONTIER) is None


def test_what_was_preferred_is_remembered(tmp_path: Path) -> None:
    state.save(tmp_path, Upstream.CVMFS, replace(CHOICE, preferred=PREFERRED))
    assert state.load(tmp_path, Upstream.CVMFS) == replace(CHOICE, preferred=PREFERRED)


def test_a_file_without_a_preference_is_as_before(tmp_path: Path) -> None:
    """Those of earlier clients."""
    squid = {"proxy": "192.0.2.1:3128", "squid": "a:3128", "distance": 12.5, "local": True, "heard": True}
    (tmp_path / "cvmfs.json").write_text(json.dumps({"time": 1.7e9, "groups": [[squid]]}))
    assert state.load(tmp_path, Upstream.CVMFS) == state.Remembered(1.7e9, CHOICE.groups[:1])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"time": "x", "groups": []}',
        b'{"time": 1, "groups": [[{"proxy": "$(id):1", "squid": "", "distance": 0, "local": 0}]]}',
        b'{"time": 1, "groups": [["x"]]}',
        b'{"time": 1, "groups": [], "preferred": []}',
        b'{"time": 1, "groups": [], "preferred": {"since": 1, "groups": [["$(id):1"]]}}',
        b"[" * 60_000,
        b'{"time": NaN, "groups": []}',
        b'{"time": 1e999, "groups": []}',
        b'{"time": ' + b"9" * 400 + b', "groups": []}',
        b'{"time": 1, "groups": [], "preferred": {"since": -Infinity, "groups": []}}',
        b'{"time": 1, "groups": [], "preferred": {"since": 1, "groups": [["192.0.2.1:0"]]}}',
        SQUID % (b"192.0.2.1:0", b"1"),
        SQUID % (b"192.0.2.1:3128", b"Infinity"),
        SQUID % (b"192.0.2.1:3128", b"9" * 400),
    ],
)
def test_a_damaged_file_is_not_used(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "cvmfs.json").write_bytes(body)
    with pytest.raises(Unavailable, match="damaged"):
        state.load(tmp_path, Upstream.CVMFS)


def test_a_file_that_cannot_be_read_is_told_and_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "cvmfs.json").mkdir()
    with pytest.raises(Unavailable, match=r"cvmfs\.json: Is a directory"):
        state.load(tmp_path, Upstream.CVMFS)


def test_a_missing_directory_is_made(tmp_path: Path) -> None:
    assert state.directory(tmp_path / "a" / "b", {}, create=True).is_dir()


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_others_may_read_in_the_directory_and_not_write_whatever_the_umask(
    tmp_path: Path, umask: int
) -> None:
    usual = os.umask(umask)
    try:
        made = state.directory(tmp_path / "a" / "b", {}, create=True)
    finally:
        assert os.umask(usual) == umask
    assert [path.stat().st_mode & 0o777 for path in (made.parent, made)] == [0o755, 0o755]


def test_a_directory_is_not_made_for_a_run_that_touches_nothing(tmp_path: Path) -> None:
    assert not state.directory(tmp_path / "a", {}, create=False).exists()


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="Not a directory"):
        state.directory(tmp_path / "file" / "state", {}, create=True)


@pytest.fixture
def ordinary_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Somebody who may not write to the usual directory; returns their directory for temporary files."""
    uid = os.getuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid or 12345)
    monkeypatch.setattr(state, "USUAL", tmp_path / "usual")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_an_ordinary_users_state_is_in_their_cache_directory(ordinary_user: Path) -> None:
    cache = ordinary_user / "cache"
    assert state.directory(state.USUAL, {"XDG_CACHE_HOME": str(cache)}, create=True) == cache / "shoal"


def test_a_directory_that_a_user_has_named_is_used_whatever_the_usual_one_is_like(
    ordinary_user: Path,
) -> None:
    named = ordinary_user / "named"
    assert state.directory(named, {"XDG_CACHE_HOME": "/cache"}, create=True) == named


def test_without_a_cache_directory_it_is_a_private_one_beside_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = state._own_temporary(create=True)
    assert made == tmp_path / f"shoal-{os.geteuid()}"
    assert made.stat().st_mode & 0o777 == 0o700


def test_somebody_elses_directory_beside_the_temporary_files_is_not_used(ordinary_user: Path) -> None:
    path = ordinary_user / f"shoal-{os.geteuid()}"
    path.mkdir()
    path.chmod(0o777)
    with pytest.raises(Unavailable, match="not a directory of ours alone"):
        state.directory(state.USUAL, {}, create=True)


def test_a_symbolic_link_beside_the_temporary_files_is_not_used(ordinary_user: Path) -> None:
    (ordinary_user / "elsewhere").mkdir(mode=0o700)
    (ordinary_user / f"shoal-{os.geteuid()}").symlink_to(ordinary_user / "elsewhere")
    with pytest.raises(Unavailable, match="not a directory of ours alone"):
        state.directory(state.USUAL, {}, create=True)


def test_where_no_temporary_file_can_be_written_that_is_told(
    ordinary_user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a worker whose disk for scratch is full."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(Unavailable, match="every directory for temporary files"):
            state.directory(state.USUAL, {}, create=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(ordinary_user.iterdir())


def test_the_lock_keeps_a_second_run_out_and_ends(tmp_path: Path) -> None:
    with state.lock(tmp_path, 0.0), pytest.raises(state.Busy), state.lock(tmp_path, 0.1):
        pass
    with state.lock(tmp_path, 0.0):
        pass


def test_the_lock_names_the_run_that_holds_it_now(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"process 1, and more that a longer line has left")
    os.utime(tmp_path / "lock", (0, 0))
    with (
        state.lock(tmp_path, 0.0),
        pytest.raises(state.Busy, match=rf"\(process {os.getpid()}\)") as busy,
        state.lock(tmp_path, 0.0),
    ):
        pass
    assert busy.value.seconds < 60


def test_a_second_run_waits_for_the_first(tmp_path: Path) -> None:
    release = threading.Event()
    held = threading.Event()

    def first() -> None:
        with state.lock(tmp_path, 0.0):
            held.set()
            release.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    held.wait(10)
    threading.Timer(0.1, release.set).start()
    with state.lock(tmp_path, 10.0):
        assert release.is_set()
    thread.join()


def test_a_lock_that_is_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(Unavailable), state.lock(tmp_path, 0.0):
        pass
    assert not (tmp_path / "target").exists()
