"""The command itself, as cron, a pilot's wrapper and an impatient operator run it."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from shoal_client import cvmfs
from shoal_common.hosts import HostPort
from shoal_common.proxylist import ProxyList
from shoal_common.version import VERSION
from testbed.origin import Origin
from testbed.process import wait_until
from tests.client import parts
from tests.client.conftest import Worker
from tests.client.test_discover import free_udp_port
from tests.conftest import StartSquid

COMMAND = [sys.executable, "-c", "from shoal_client.cli import main; main()"]
SERVER = "(serverurl=http://frontier.test:8000/atlr)(proxyurl=http://site.test:3128)"


def call(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=environ, capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def started(*arguments: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run that does not outlive the block."""
    with subprocess.Popen([*COMMAND, *arguments], env=environ, stderr=subprocess.PIPE) as run:
        try:
            yield run
        finally:
            run.kill()


def test_the_version_is_told() -> None:
    assert call("--version").stdout == f"shoal-client {VERSION}\n"


def test_a_pilots_wrapper_gets_one_line_and_nothing_else_with_home_unset(
    worker: Worker, directory: parts.Directory
) -> None:
    with parts.squid() as one:
        directory.list(one)
        done = call("-f", *worker.flags(), FRONTIER_SERVER=SERVER)
    assert done.returncode == 0
    assert done.stdout == SERVER.replace("(proxyurl", f"(proxyurl=http://{one})(proxyurl") + "\n"
    assert done.stderr == ""


def test_a_pilots_wrapper_gets_its_string_back_when_no_server_answers(worker: Worker) -> None:
    done = call("-f", *worker.flags(), FRONTIER_SERVER=SERVER)
    assert (done.returncode, done.stdout) == (0, SERVER + "\n")
    assert "stays as it is" in done.stderr


def test_bytes_that_are_no_text_come_back_as_they_were(worker: Worker) -> None:
    given = os.fsencode(SERVER) + b"\xff"
    done = subprocess.run(
        [*COMMAND, "-f", *worker.flags()], env={b"FRONTIER_SERVER": given}, capture_output=True, check=True
    )
    assert done.stdout == given + b"\n"


def test_bad_settings_are_all_told_and_nothing_is_tried(worker: Worker, directory: parts.Directory) -> None:
    done = call(*worker.flags(), "-n", "many", "--lan-wait", "soon", FRONTIER_SERVER=SERVER)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--squids: 'many' will not do" in done.stderr
    assert "--lan-wait: 'soon' will not do" in done.stderr
    assert directory.paths == []


def test_bad_settings_do_not_cost_a_pilot_its_frontier_server() -> None:
    done = call("-f", "-n", "many", FRONTIER_SERVER=SERVER)
    assert (done.returncode, done.stdout) == (2, SERVER + "\n")


def test_a_server_on_the_command_line_is_asked_for_frontier_too(
    worker: Worker, directory: parts.Directory
) -> None:
    file = worker.root / "old.conf"
    file.write_text(f"[general]\nconditions_url = http://{parts.closed()}/nearestconditions\n")
    flags = ("-f", "-k", "--config", str(file), "-s", directory.url)
    call(*flags, FRONTIER_SERVER=SERVER, SHOAL_STATE_DIR=str(worker.root / "state"))
    assert directory.paths == ["/nearest/7/"]


def test_an_old_file_configures_a_worker(worker: Worker, directory: parts.Directory) -> None:
    file = worker.root / "old.conf"
    file.write_text(f"[general]\nshoal_server_url = {directory.url}/nearest\ndefault_squid_proxy = DIRECT\n")
    flags = worker.flags()
    for flag in ("--server", "--default-proxy"):
        del flags[flags.index(flag) : flags.index(flag) + 2]
    with parts.squid() as one:
        directory.list(one)
        assert call("--config", str(file), *flags).returncode == 0
    assert worker.value == f"http://{one};DIRECT"


def test_two_runs_at_once_do_each_other_no_harm(worker: Worker, directory: parts.Directory) -> None:
    worker.set(probe_deadline=20.0)
    with parts.squid(delay=0.2) as one:
        directory.list(one)
        with ExitStack() as stack:
            runs = [stack.enter_context(started(*worker.flags())) for _ in range(3)]
            assert [run.wait(30) for run in runs] == [0, 0, 0]
    assert worker.value == f"http://{one}"
    assert [path.name for path in worker.config.parent.iterdir()] == ["60-shoal.conf"]


def _locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_that_waits_for_a_server(worker: Worker, number: signal.Signals) -> None:
    lock = worker.settings.state_dir / "lock"
    with parts.black_hole() as hole:
        worker.set(
            servers=(f"http://{hole}/",), server_deadline=60.0, lan_wait=60.0, lan_port=free_udp_port()
        )
        with started(*worker.flags()) as run:
            wait_until(lambda: lock.exists() and _locked(lock), 10.0, "the run holds its lock")
            run.send_signal(number)
            start = time.monotonic()
            _, told = run.communicate(timeout=30)
            assert time.monotonic() - start < 2.0
    assert run.returncode == 130
    assert b"stopped by a signal" in told
    assert not _locked(lock)
    assert not worker.config.exists()


def test_a_signal_ends_a_run_whose_cvmfs_talk_hangs(worker: Worker, directory: parts.Directory) -> None:
    begun = worker.root / "begun"
    worker.talk.path.write_text(f"#!/bin/sh\necho > {begun}\nexec sleep 60\n")
    worker.mount("atlas.cern.ch")
    with parts.squid() as one:
        directory.list(one)
        with started(*worker.flags(), **worker.environ) as run:
            wait_until(begun.exists, 20.0, "cvmfs_talk was called")
            run.terminate()
            start = time.monotonic()
            assert run.wait(30) == 130
            assert time.monotonic() - start < 2.0
    assert worker.value == f"http://{one}"


def test_killed_at_any_point_the_file_is_the_old_or_the_new(tmp_path: Path) -> None:
    file = tmp_path / "60-shoal.conf"
    chains = [ProxyList.of([[f"http://{name}{n}.test:3128"] for n in range(200)]) for name in ("old", "new")]
    contents = [cvmfs.render(chain) for chain in chains]
    program = (
        "import sys; from pathlib import Path; from shoal_client import cvmfs\n"
        "contents = sys.stdin.buffer.read().split(b'|')\n"
        "while True:\n"
        "    for content in contents: cvmfs.write(Path(sys.argv[1]), content)\n"
    )
    for round_number in range(8):
        writer = subprocess.Popen([sys.executable, "-c", program, str(file)], stdin=subprocess.PIPE)
        assert writer.stdin
        writer.stdin.write(b"|".join(contents))
        writer.stdin.close()
        wait_until(file.exists, 20.0, "the first write")
        time.sleep(0.003 * round_number)
        writer.kill()
        writer.wait()
        assert file.read_bytes() in contents
        file.unlink()


def test_a_real_squid_is_found_good_and_a_denying_one_is_not(
    worker: Worker, directory: parts.Directory, origin: Origin, start_squid: StartSquid
) -> None:
    good = start_squid(hosts={"stratum-one.test": origin.host})
    denying = start_squid(hosts={"stratum-one.test": origin.host}, clients=())
    worker.set(
        probe_urls=(f"http://stratum-one.test:{origin.port}/cvmfs/atlas.cern.ch/.cvmfspublished",),
        probe_deadline=10.0,
    )
    places = [HostPort(squid.address, squid.port) for squid in (denying, good)]
    directory.list(*places)
    assert call(*worker.flags()).returncode == 0
    assert worker.value == good.url


def test_a_real_squid_serves_a_frontier_query(
    worker: Worker, directory: parts.Directory, origin: Origin, start_squid: StartSquid
) -> None:
    squid = start_squid(hosts={"frontier.test": origin.host})
    worker.set(probe_deadline=10.0)
    directory.list(HostPort(squid.address, squid.port))
    given = f"(serverurl=http://frontier.test:{origin.port}/atlr)"
    done = call("-f", *worker.flags(), FRONTIER_SERVER=given)
    assert done.stdout == f"{given}(proxyurl={squid.url})\n"
