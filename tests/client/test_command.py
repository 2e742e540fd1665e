"""The command itself, as cron, a pilot's wrapper and an impatient operator run it."""

import fcntl
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from shoal_client import cli, cvmfs, journal, node, state
from shoal_client.actions import Actions, Command, ExitCode
from shoal_client.client import Run
from shoal_common.hosts import HostPort
from shoal_common.proxylist import ProxyList
from shoal_common.version import VERSION
from testbed.origin import Origin
from testbed.process import wait_until
from tests.client import parts
from tests.client.conftest import Worker
from tests.client.test_discover import free_udp_port
from tests.client.test_outputs import everything
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
    pipe = subprocess.PIPE
    with subprocess.Popen([*COMMAND, *arguments], env=environ, stdout=pipe, stderr=pipe) as run:
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


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("flags", [["--explain"], ["-f"], ["-n", "many"]])
def test_a_run_without_stdout_or_stderr_ends_as_any_other(
    worker: Worker, directory: parts.Directory, closed: str, flags: list[str]
) -> None:
    worker.local.write_text('CVMFS_HTTP_PROXY="http://$SITE"\n')  # something to warn of
    script = f'"$@" {closed}'
    with parts.squid() as one:
        directory.list(one)
        done = subprocess.run(
            ["/bin/sh", "-c", script, "sh", *COMMAND, *worker.flags(), *flags],
            env={"FRONTIER_SERVER": SERVER},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == (2 if "-n" in flags else 0)
    assert "Traceback" not in done.stderr
    assert worker.config.exists() is ("--explain" in flags)
    if worker.config.exists():
        assert worker.value == f"http://{one}"


def test_bytes_that_are_no_text_come_back_as_they_were(worker: Worker) -> None:
    given = os.fsencode(SERVER) + b"\xff"
    done = subprocess.run(
        [*COMMAND, "-f", *worker.flags()], env={b"FRONTIER_SERVER": given}, capture_output=True, check=True
    )
    assert done.stdout == given + b"\n"


def test_letters_beyond_ascii_harm_nothing_where_names_are_ascii(
    worker: Worker, directory: parts.Directory
) -> None:
    comment = "# cach\u00e9\n".encode()
    worker.local.write_bytes(comment + b'SITE=caf\xc3\xa9\nCVMFS_HTTP_PROXY="http://site.test:3128"\n')
    worker.set(cvmfs_blocks=(worker.local,))
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with parts.squid() as one:
        directory.list(one)
        command = [*COMMAND, *worker.flags()]
        shown = subprocess.run([*command, "--dry-run"], env=ascii_only, capture_output=True, check=False)
        done = subprocess.run(command, env=ascii_only, capture_output=True, check=False)
    assert (shown.returncode, done.returncode) == (0, 0)
    assert b"\n " + comment in shown.stdout
    assert worker.value == f"http://{one};http://site.test:3128"
    assert comment in worker.local.read_bytes()


def test_bad_settings_are_all_told_and_nothing_is_tried(worker: Worker, directory: parts.Directory) -> None:
    done = call(*worker.flags(), "-n", "many", "--lan-wait", "soon", FRONTIER_SERVER=SERVER)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--squids: 'many' will not do" in done.stderr
    assert "--lan-wait: 'soon' will not do" in done.stderr
    assert directory.paths == []


def test_bad_settings_do_not_cost_a_pilot_its_frontier_server() -> None:
    done = call("-f", "-n", "many", FRONTIER_SERVER=SERVER)
    assert (done.returncode, done.stdout) == (2, SERVER + "\n")


def test_a_pilot_gets_its_frontier_server_back_from_a_run_that_is_ended(worker: Worker) -> None:
    asked = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        del request
        asked.set()
        time.sleep(60.0)

    with parts.serve(answer) as hole:
        worker.set(servers=(f"http://{hole}/",), server_deadline=60.0)
        with started("-f", *worker.flags(), FRONTIER_SERVER=SERVER) as run:
            assert asked.wait(20)
            run.terminate()
            printed, _ = run.communicate(timeout=30)
    assert (run.returncode, printed.decode()) == (130, SERVER + "\n")


@pytest.mark.parametrize("started", [0, 1, 2])
@pytest.mark.parametrize("command", ["run", "doctor", "-f"])
def test_where_no_thread_can_be_started_that_is_said_and_all_stays_as_it_is(
    worker: Worker, directory: parts.Directory, command: str, started: int
) -> None:
    """As under ulimit -u, or in a container with a pids.max: here after so many threads."""
    full = f"import threading\nstart, left = threading.Thread.start, [None] * {started}\ndef may(self):\n"
    full += " if not left: raise RuntimeError('no new one')\n left.pop(); start(self)\n"
    full += "threading.Thread.start = may\n"
    with parts.squid() as one, parts.squid() as two:
        directory.list(one)
        worker.run()
        directory.list(two)
        done = subprocess.run(
            [sys.executable, "-c", full + COMMAND[-1], command, *worker.flags()],
            env={"FRONTIER_SERVER": SERVER},
            capture_output=True,
            text=True,
            check=False,
        )
    assert worker.value == f"http://{one}"
    assert "no thread can be started (ulimit -u, pids.max): no new one" in (
        done.stdout if command == "doctor" else done.stderr
    )
    assert "Traceback" not in done.stderr
    if command == "-f":
        assert done.stdout == SERVER + "\n"
    else:
        assert done.returncode == 1


def test_a_run_that_may_open_no_socket_but_for_http_does_its_work(
    worker: Worker, directory: parts.Directory
) -> None:
    """As under systemd with RestrictAddressFamilies=, or with IPv6 alone in the kernel."""
    only_http = """
import errno, socket
class Restricted(socket.socket):
    def __init__(self, family=-1, type=-1, *further, **named):
        if type & socket.SOCK_DGRAM:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        super().__init__(family, type, *further, **named)
socket.socket = Restricted
"""
    worker.set(lan_wait=1.0, squids=1, syslog=True)
    with parts.squid() as one:
        directory.list(one)
        done = subprocess.run(
            [sys.executable, "-c", only_http + COMMAND[-1], *worker.flags()],
            env=worker.environ,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, worker.value) == (0, f"http://{one}")
    assert "cannot listen on UDP port 50000: Address family not supported" in done.stderr


def test_a_server_on_the_command_line_is_asked_for_frontier_too(
    worker: Worker, directory: parts.Directory
) -> None:
    file = worker.root / "old.conf"
    file.write_text(f"[general]\nconditions_url = http://{parts.closed()}/nearestconditions\n")
    flags = ("-f", "-k", "--config", str(file), "-s", directory.url)
    call(*flags, FRONTIER_SERVER=SERVER, SHOAL_STATE_DIR=str(worker.root / "state"))
    assert directory.paths[0] == "/nearest/7/"


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


def test_runs_at_once_that_know_nothing_of_each_other_leave_every_output_whole(
    worker: Worker, directory: parts.Directory
) -> None:
    worker.set(**everything(worker))
    with parts.squid() as one:
        directory.list(one)
        with ExitStack() as stack:
            runs = []
            for number in range(4):
                worker.set(state_dir=worker.root / f"state{number}")
                runs.append(stack.enter_context(started(*worker.flags())))
            codes = {run.wait(60) for run in runs}
        assert codes <= {0, 1}  # 1: another one was faster, and that is told
        assert 0 in codes
        assert worker.run() is ExitCode.UNCHANGED
    assert worker.value == f"http://{one}"
    assert not list(worker.root.rglob("*.tmp"))


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
        "import sys; from pathlib import Path; from shoal_client import documents\n"
        "contents = sys.stdin.buffer.read().split(b'|')\n"
        "while True:\n"
        "    for content in contents: documents.own(Path(sys.argv[1]), content).write()\n"
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


KILLED = """
import os, signal, sys
from shoal_client import cli, outputs
from shoal_client.results import Result
from shoal_client.settings import ClientSettings
from shoal_common.heartbeat import Upstream
from shoal_common.program import settings_of
from shoal_common.proxylist import ProxyList

root, chain, left, *flags = sys.argv[1:]
settings = settings_of(ClientSettings, cli.NAME, cli.parser().parse_args(flags), {}).settings
chosen = ProxyList.parse(chain)
left = int(left)

def watch(event, arguments):
    global left
    if event.split(".")[0] in ("open", "os", "tempfile", "shutil") and str(arguments[0]).startswith(root):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
for service in (Upstream.CVMFS, Upstream.FRONTIER):
    result = Result(service, chosen, ProxyList(), ProxyList(), False)
    outputs.apply(result, settings, {}, sys.stdout, dry_run=False)
"""


def test_killed_before_any_step_of_any_output_each_file_is_the_old_or_the_new(worker: Worker) -> None:
    worker.set(**everything(worker), set_live=False)

    def apply(chain: str, steps: int) -> int:
        arguments = [sys.executable, "-c", KILLED, str(worker.root), chain, str(steps), *worker.flags()]
        return subprocess.run(arguments, capture_output=True, check=False, timeout=60).returncode

    def contents() -> dict[Path, bytes]:
        found = (path for path in worker.root.rglob("*") if path.is_file() and path.suffix != ".tmp")
        return {path: path.read_bytes() for path in found}

    chains = ["http://192.0.2.1:3128;http://192.0.2.2:3128", "http://198.51.100.7:3128"]
    known = []
    for chain in (*chains, chains[0]):
        assert apply(chain, 0) == 0
        known.append(contents())
    assert known[0] == known[2] != known[1]
    steps, ended = 1, -signal.SIGKILL
    while ended:
        ended = apply(chains[1], steps)
        now = contents()
        assert now.keys() == known[0].keys()
        assert all(now[path] in (known[0][path], known[1][path]) for path in now)
        steps += 6
    assert steps > 50
    assert contents() == known[1]


def test_whether_something_changed_can_be_told_by_the_exit_code(
    worker: Worker, directory: parts.Directory
) -> None:
    with parts.squid() as one:
        directory.list(one)
        assert call(*worker.flags(), "--exit-codes").returncode == 4
        assert call(*worker.flags(), "--exit-codes").returncode == 0
        worker.config.unlink()
        assert call(*worker.flags()).returncode == 0
        directory.status = 500
        assert call(*worker.flags()).returncode == 3
    assert call(*worker.flags()).returncode == 1


def test_cloud_init_at_first_boot_with_no_environment_at_all(
    worker: Worker, directory: parts.Directory
) -> None:
    with parts.squid() as one:
        directory.list(one)
        done = subprocess.run(
            [*COMMAND, *worker.flags()],
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert worker.value == f"http://{one}"


def as_nobody(work: Callable[[], bool]) -> bool:
    """What `work` returns in a process of an ordinary user, who may not be able to read the program itself:
    what it imports should have been imported before.
    """
    pid = os.fork()
    if pid == 0:
        result = False
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            result = work()
        finally:
            os._exit(0 if result else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_an_ordinary_user_without_a_home_gets_frontier_server_and_changes_nothing_else(
    worker: Worker,
    directory: parts.Directory,
    new_directory: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    temporary = new_directory("temporary")
    temporary.mkdir()
    temporary.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    worker.set(state_dir=state.USUAL)
    worker.environ = {"FRONTIER_SERVER": SERVER}
    with parts.squid() as one:
        directory.list(one)
        printed = SERVER.replace("(proxyurl", f"(proxyurl=http://{one})(proxyurl") + "\n"
        worker.run(dump=True)
        assert as_nobody(
            lambda: worker.run(frontier=True).told(all_codes=False) == 0 and worker.printed == printed
        )
        assert as_nobody(lambda: worker.run() is ExitCode.FAILED)
    kept = sorted(path.name for path in (temporary / "shoal-65534").iterdir())
    assert kept == ["cvmfs.json", "frontier.json", "lock"]
    assert not worker.config.exists()


def test_what_was_good_last_is_known_from_a_directory_that_is_read_only(
    worker: Worker, directory: parts.Directory, new_directory: Callable[[str], Path]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    state_dir = new_directory("state")
    worker.set(state_dir=state_dir)
    worker.environ = {"FRONTIER_SERVER": SERVER}
    with parts.squid() as one:
        directory.list(one)
        worker.run(frontier=True)
        directory.status = 500
        before = (state_dir / "frontier.json").read_bytes()
        assert as_nobody(lambda: worker.run(frontier=True) is ExitCode.CHANGED and str(one) in worker.printed)
    assert (state_dir / "frontier.json").read_bytes() == before


def test_explanations_do_not_get_into_a_pilots_string(worker: Worker, directory: parts.Directory) -> None:
    with parts.squid() as one:
        directory.list(one)
        done = call("-f", "--explain", *worker.flags(), FRONTIER_SERVER=SERVER)
        shown = call("--dry-run", "--explain", *worker.flags())
    assert done.stdout.count("\n") == 1
    assert f"# http://{one} taken" in done.stderr
    assert f"# http://{one} taken" in shown.stdout


def test_the_doctor_and_the_classad_are_words_before_or_behind_the_flags(
    worker: Worker, directory: parts.Directory
) -> None:
    with parts.squid() as one:
        directory.list(one)
        call(*worker.flags())
        assert f"a run would set: http://{one}" in call("doctor", *worker.flags()).stdout
        assert f'ShoalProxies = "http://{one}"' in call(*worker.flags(), "classad").stdout
        assert call("run", *worker.flags()).returncode == 0
    assert call("cure").returncode == 2


@pytest.mark.parametrize(
    ("flags", "waits"),
    [({}, True), ({"frontier": True}, False), ({"dump": True}, False), ({"dry_run": True}, False)],
)
def test_a_splay_is_this_nodes_part_of_the_interval_and_for_cron_alone(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, flags: dict[str, bool], waits: bool
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(cli, "run", lambda *_: Run(ExitCode.UNCHANGED, ""))
    monkeypatch.setattr(time, "sleep", slept.append)
    worker.set(splay=600.0)
    cli._do(Command.RUN, worker.settings, Actions(**flags), {}, io.StringIO())
    assert slept == ([600.0 * node.share(node.identity(), "splay")] if waits else [])


def test_each_run_leaves_one_line_in_syslog(
    worker: Worker, directory: parts.Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[tuple[str, str]] = []
    monkeypatch.setattr(journal, "send", lambda name, text, path: lines.append((name, text)))
    worker.set(syslog=True)
    with parts.squid() as one:
        directory.list(one)
        for actions in (Actions(), Actions(dry_run=True), Actions(skip_broadcast=True)):
            cli._do(Command.RUN, worker.settings, actions, worker.environ, io.StringIO())
    told = f"http://{one} (1 of 1 candidates good)"
    assert lines == [("shoal-client", f"cvmfs changed: {told}"), ("shoal-client", f"cvmfs unchanged: {told}")]


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
