"""The program as it is run: command line, signals, exit codes, what it says."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from shoal_common.version import VERSION
from shoal_server.intake.embedded import Credentials, EmbeddedIntake
from testbed.origin import Origin
from testbed.ports import free_port
from testbed.process import ROOT, Service, wait_until
from testbed.proxycache import PythonCache
from testbed.rabbitmq import RabbitMQ
from testbed.squid import Squid
from tests.agent.fakes import Clouds
from tests.agent.support import Ear
from tests.conftest import StartSquid, need

PUBLISHED = "/cvmfs/atlas.cern.ch/.cvmfspublished"
COMMAND = (sys.executable, "-m", "shoal_agent.cli")
QUICK = (sys.executable, "-m", "tests.agent.quick")
ENDS_WITHIN = 2.0


class Program(Service):
    """`shoal-agent` as a child process; `quick` makes its constants (`module.NAME`) smaller."""

    program = "python3"
    package = "python3"

    def __init__(self, directory: Path, arguments: list[str], quick: Mapping[str, float] = {}) -> None:
        super().__init__(directory)
        self._arguments = arguments
        self._quick = [f"{constant}={number}" for constant, number in quick.items()]

    def command(self) -> list[str]:
        command = [*QUICK, *self._quick, "--"] if self._quick else COMMAND
        return [*command, *self._arguments]

    def environment(self) -> dict[str, str]:
        return environment()

    def is_ready(self) -> bool:
        return "shoal-agent" in self.tail()

    def end(self, number: signal.Signals) -> float:
        """Send a signal; returns how many seconds the process took to end."""
        began = time.monotonic()
        os.kill(self.pid, number)
        wait_until(lambda: not self.running, 10, "the end of the process")
        return time.monotonic() - began

    @property
    def exit_code(self) -> int:
        # Looked at without reaping, which is for the service itself to do.
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        assert ended is not None
        return ended.si_status


def environment() -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("SHOAL_")}
    return kept | {"PYTHONPATH": str(ROOT), "HOME": "/nonexistent"}


@pytest.fixture
def cache(new_directory: Callable[[str], Path]) -> Iterator[Squid | PythonCache]:
    kind: type[Squid] | type[PythonCache] = Squid if Squid.available() else PythonCache
    service = kind(new_directory("cache"))
    with service:
        yield service


class Sink:
    """Takes what an intake hears."""

    def __init__(self, heard: list[bytes]) -> None:
        self._heard = heard

    def take(self, bodies: Sequence[bytes]) -> None:
        self._heard += bodies


Arguments = Callable[..., list[str]]


@pytest.fixture
def arguments(cache: Squid | PythonCache, origin: Origin, rabbit_vhost: str) -> Arguments:
    """Flags for an agent beside `cache`, to which further ones can be given."""

    def made(*more: str, amqp: str = rabbit_vhost) -> list[str]:
        return [
            *("--amqp", amqp, "--cache-port", str(cache.port), "--external-ip", "206.12.48.10"),
            *("--check-urls", origin.url + PUBLISHED, "--hostname", "sq1.example.org"),
            *("--check-timeout", "1", "--check-retry", "0.2"),
            *("--announce", "no", "--metadata-url", "", *more),
        ]

    return made


@pytest.fixture
def start(new_directory: Callable[[str], Path]) -> Iterator[Callable[[list[str]], Program]]:
    with ExitStack() as stack:
        yield lambda arguments: stack.enter_context(Program(new_directory("agent"), arguments))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_once_publishes_one_heartbeat(
    rabbit_vhost: str, arguments: Arguments, cache: Squid | PythonCache
) -> None:
    with Ear(rabbit_vhost) as ear:
        done = run(*arguments("--once"))
        assert done.returncode == 0, done.stderr
        ear.await_bodies(1)
        (message,) = ear.messages()
    assert (message["external_ip"], message["squid_port"]) == ("206.12.48.10", cache.port)
    assert (message["hostname"], message["state"]) == ("sq1.example.org", "up")


def test_once_with_a_dead_squid_publishes_nothing_and_says_why(
    rabbit_vhost: str, arguments: Arguments, cache: Squid | PythonCache
) -> None:
    cache.stop()
    with Ear(rabbit_vhost) as ear:
        done = run(*arguments("--once", "--log-level", "error"))
        assert ear.listen() == []
    assert done.returncode == 1
    assert done.stderr == (f"shoal-agent: not published: 127.0.0.1:{cache.port} refused the connection\n")


def test_once_without_a_broker_says_so_in_one_line(arguments: Arguments) -> None:
    port = free_port()
    done = run(*arguments("--once", "--log-level", "error", amqp=f"amqp://127.0.0.1:{port}/"))
    assert done.returncode == 1
    assert done.stderr == f"shoal-agent: not published: 127.0.0.1:{port} refuses the connection\n"


def test_a_password_is_never_written(arguments: Arguments) -> None:
    done = run(*arguments("--once", amqp=f"amqp://squid:geheim@127.0.0.1:{free_port()}/"))
    assert "squid:***@" in done.stderr
    assert "geheim" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_2_seconds_with_a_goodbye(
    number: signal.Signals, rabbit_vhost: str, arguments: Arguments, start: Callable[[list[str]], Program]
) -> None:
    with Ear(rabbit_vhost) as ear:
        agent = start(arguments())
        up = ear.await_state("up")
        assert agent.end(number) < ENDS_WITHIN
        goodbye = ear.await_state("leaving")
    assert agent.exit_code == 0
    assert goodbye["uuid"] == up["uuid"]


def test_a_hung_broker_does_not_hold_up_the_end(
    rabbitmq: RabbitMQ, rabbit_vhost: str, arguments: Arguments, start: Callable[[list[str]], Program]
) -> None:
    with Ear(rabbit_vhost) as ear:
        agent = start(arguments("--interval", "0.2"))
        ear.await_state("up")
        rabbitmq.pause()
        took = agent.end(signal.SIGTERM)
        rabbitmq.resume()
    assert took < ENDS_WITHIN
    assert agent.exit_code == 0


def test_a_missing_broker_does_not_hold_up_the_end(
    arguments: Arguments, start: Callable[[list[str]], Program]
) -> None:
    agent = start(arguments(amqp=f"amqp://127.0.0.1:{free_port()}/"))
    wait_until(lambda: "cannot publish" in agent.tail(), 10)
    assert agent.end(signal.SIGTERM) < ENDS_WITHIN
    assert agent.exit_code == 0


def test_a_squid_that_dies_is_taken_back_and_announced_again_when_it_returns(
    rabbit_vhost: str,
    arguments: Arguments,
    start: Callable[[list[str]], Program],
    cache: Squid | PythonCache,
) -> None:
    with Ear(rabbit_vhost) as ear:
        start(arguments())
        ear.await_state("up")
        cache.kill()
        ear.await_state("leaving", within=15)
        cache.start()
        ear.await_state("up", within=15)


def test_an_agent_that_comes_before_its_squid_waits_for_it(
    rabbit_vhost: str,
    arguments: Arguments,
    start: Callable[[list[str]], Program],
    cache: Squid | PythonCache,
) -> None:
    cache.stop()
    with Ear(rabbit_vhost) as ear:
        agent = start(arguments())
        wait_until(lambda: "is bad" in agent.tail(), 10)
        assert ear.listen() == []
        cache.start()
        ear.await_state("up", within=15)


def test_an_outage_of_the_origin_silences_no_squid(
    rabbit_vhost: str, arguments: Arguments, start: Callable[[list[str]], Program], origin: Origin
) -> None:
    with Ear(rabbit_vhost) as ear:
        agent = start(arguments("--interval", "0.2", "--check-interval", "0.2", "--check-fall", "1"))
        ear.await_state("up")
        origin.stop()
        heard = len(ear.listen())
        ear.await_bodies(heard + 6)
        assert {message["state"] for message in ear.messages()} == {"up"}
        assert "is bad" not in agent.tail()


def test_a_hung_squid_is_silent_within_two_heartbeats_though_no_origin_can_be_reached(
    rabbit_vhost: str,
    arguments: Arguments,
    start: Callable[[list[str]], Program],
    cache: Squid | PythonCache,
    origin: Origin,
) -> None:
    interval = 4.0
    with Ear(rabbit_vhost) as ear:
        more = ["--check-interval", "300", "--check-retry", "10", "--check-timeout", "0.5"]
        start(arguments("--interval", str(interval), *more))
        ear.await_state("up")
        origin.stop()
        cache.pause()
        try:
            ear.await_state("leaving", within=2 * interval)
        finally:
            cache.resume()
        ear.await_state("up", within=4 * interval)


def test_a_squid_that_returns_at_another_port_is_announced_there(
    rabbit_vhost: str,
    origin: Origin,
    new_directory: Callable[[str], Path],
    start: Callable[[list[str]], Program],
) -> None:
    need(Squid)
    first, second = (Squid(new_directory("squid"), listen=["127.7.7.7"]) for _ in range(2))
    flags = ["--amqp", rabbit_vhost, "--cache-address", "127.7.7.7", "--external-ip", "206.12.48.10"]
    flags += ["--check-urls", origin.url + PUBLISHED, "--interval", "1", "--metadata-url", ""]
    with Ear(rabbit_vhost) as ear:
        with first:
            start(flags)
            assert ear.await_state("up")["squid_port"] == first.port
        with second:
            wait_until(lambda: ear.messages()[-1]["squid_port"] == second.port, 20, "the new port")
            assert ear.await_state("up")["uuid"] == ear.messages()[0]["uuid"]


def test_usr1_drains(rabbit_vhost: str, arguments: Arguments, start: Callable[[list[str]], Program]) -> None:
    with Ear(rabbit_vhost) as ear:
        agent = start(arguments("--interval", "60"))
        ear.await_state("up")
        os.kill(agent.pid, signal.SIGUSR1)
        ear.await_state("draining", within=5)
        assert agent.end(signal.SIGTERM) < ENDS_WITHIN
        ear.await_state("leaving")


EC2_SPOT = {"/latest/meta-data/instance-life-cycle": "spot"}
EC2_NOTICE = {"/latest/meta-data/spot/instance-action": '{"action": "terminate"}'}
GOOGLE_PREEMPTIBLE = {"/computeMetadata/v1/instance/scheduling/preemptible": "TRUE"}
GOOGLE_NOTICE = {"/computeMetadata/v1/instance/preempted": "TRUE"}


@pytest.mark.parametrize(
    ("tokens", "kind", "notice", "who"),
    [
        (True, EC2_SPOT, EC2_NOTICE, "EC2 takes this spot instance away"),
        (False, GOOGLE_PREEMPTIBLE, GOOGLE_NOTICE, "Google takes this preemptible instance away"),
    ],
    ids=["ec2", "google"],
)
def test_a_clouds_notice_that_it_takes_the_vm_drains_the_cache(
    rabbit_vhost: str,
    arguments: Arguments,
    new_directory: Callable[[str], Path],
    tokens: bool,
    kind: dict[str, str],
    notice: dict[str, str],
    who: str,
) -> None:
    with Ear(rabbit_vhost) as ear, Clouds(tokens=tokens) as cloud:
        cloud.pages.update(kind)
        flags = arguments("--interval", "60", "--metadata-url", cloud.url)
        with Program(new_directory("agent"), flags, {"outside.NOTICE_SECONDS": 0.3}) as agent:
            up = ear.await_state("up")
            cloud.pages.update(notice)
            draining = ear.await_state("draining", within=10)
            assert draining["uuid"] == up["uuid"]
            assert agent.tail().count(who) == 1
            assert agent.end(signal.SIGTERM) < ENDS_WITHIN
            ear.await_state("leaving")


def test_a_password_changed_in_the_settings_file_needs_no_restart(
    cache: Squid | PythonCache, origin: Origin, new_directory: Callable[[str], Path], tmp_path: Path
) -> None:
    port, file = free_port(), tmp_path / "shoal_agent.conf"

    def write(password: str) -> None:
        file.write_text(f"[amqp]\nurl = amqp://squid:{password}@127.0.0.1:{port}/\n")

    def intake(password: str) -> tuple[EmbeddedIntake, list[bytes]]:
        heard: list[bytes] = []
        return EmbeddedIntake(
            "127.0.0.1", port, Sink(heard), credentials=Credentials("squid", password)
        ), heard

    write("old")
    flags = ["--config", str(file), "--cache-port", str(cache.port), "--external-ip", "206.12.48.10"]
    flags += ["--check-urls", origin.url + PUBLISHED, "--interval", "0.5", "--metadata-url", ""]
    server, heard = intake("old")
    server.start()
    with Program(new_directory("agent"), flags, {"publisher.LONGEST_PAUSE": 0.3}) as agent:
        wait_until(lambda: bool(heard), 10, "the first heartbeat")
        server.stop()
        server, heard = intake("new")
        server.start()
        wait_until(lambda: "refuses the user or the password" in agent.tail(), 20, "the refusal")
        write("new")
        wait_until(lambda: bool(heard), 30, "a heartbeat with the new password")
        assert f"{file} was changed" in agent.tail()
    server.stop()


def test_the_clouds_address_and_the_caches_counters_are_told(
    rabbit_vhost: str, origin: Origin, start_squid: StartSquid, start: Callable[[list[str]], Program]
) -> None:
    squid = start_squid(listen=["0.0.0.0"])
    with Ear(rabbit_vhost) as ear, Clouds() as cloud:
        cloud.pages["/latest/meta-data/public-ipv4"] = "206.12.48.10"
        flags = ["--amqp", rabbit_vhost, "--cache-port", str(squid.port), "--metadata-url", cloud.url]
        flags += ["--check-urls", origin.url + PUBLISHED, "--interval", "1", "--announce", "no"]
        start(flags)

        def complete() -> bool:
            message = ear.messages()[-1] if ear.listen() else {}
            return message.get("external_ip") == "206.12.48.10" and message.get("requests_per_s", 0) > 0

        wait_until(complete, 15, "a heartbeat with the cloud's address and the cache's counters")
        assert ear.messages()[-1]["fds_max"] == 1024
        assert ear.messages()[-1]["cpu_cores"] == 1


def test_systemd_learns_that_it_is_ready_lives_and_how_it_is(
    arguments: Arguments, tmp_path: Path, rabbit_vhost: str
) -> None:
    with Ear(rabbit_vhost), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"}
        with subprocess.Popen(
            [*COMMAND, *arguments()], env=environment() | told, cwd=ROOT, stderr=subprocess.DEVNULL
        ) as agent:
            heard = [manager.recv(1024).decode()]
            while not heard[-1].startswith("STATUS=publishing"):
                heard.append(manager.recv(1024).decode())
            agent.terminate()
            while heard[-1] != "STOPPING=1":
                heard.append(manager.recv(1024).decode())
    assert heard[0] == "READY=1"
    assert "WATCHDOG=1" in heard


def test_check_shows_every_finding_with_its_source_and_publishes_nothing(
    rabbit_vhost: str, arguments: Arguments, start_squid: StartSquid
) -> None:
    other = start_squid()
    with Ear(rabbit_vhost) as ear:
        done = run(*arguments("--check", "--log-level", "error"))
        assert ear.listen() == []
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines() if "also running" not in line)
    assert done.returncode == 0, done.stdout
    assert lines["external IPv4"] == "206.12.48.10  (configured)"
    assert lines["hostname"] == "sq1.example.org  (configured)"
    assert lines["state"].startswith("good  (served http://")
    assert "its cache manager" in lines["counters"]
    assert lines["LAN announcement"] == "off  (configured)"
    assert {"cache", "listens at", "purpose", "interface", "max_load", "IPv6", "broker"} <= set(lines)
    assert f"squid at 127.0.0.1:{other.port}" in done.stdout


def test_check_marks_what_is_in_the_way(arguments: Arguments, cache: Squid | PythonCache) -> None:
    cache.stop()
    done = run(*arguments("--check", amqp=f"amqp://127.0.0.1:{free_port()}/"))
    assert done.returncode == 1
    marked = [line for line in done.stdout.splitlines() if line.startswith("! ")]
    assert [line.split(":")[0] for line in marked] == ["! broker", "! state"]


def test_the_version_is_told() -> None:
    assert run("--version").stdout == f"shoal-agent {VERSION}\n"


@pytest.mark.parametrize(
    "flag", ["--amqp", "--external-ip", "--cache-port", "--once", "--config", "--version"]
)
def test_the_help_names_every_flag(flag: str) -> None:
    assert re.search(rf"^\s+{flag}\b", run("--help").stdout, re.MULTILINE)


def test_all_bad_settings_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "shoal_agent.conf"
    file.write_text("[general]\ninterval = soon\nexternal_ip = here\n")
    done = run("--config", str(file), "--cache-port", "0")
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if str(file) in line or "--cache-port" in line]
    assert len(done.stderr.splitlines()) == 3


def test_a_certificate_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    done = run("--amqp", "amqps://localhost/", "--ca-file", str(tmp_path / "gone.pem"))
    assert done.returncode == 2
    assert "gone.pem" in done.stderr


def test_old_keys_are_told_in_the_log(tmp_path: Path) -> None:
    file = tmp_path / "shoal_agent.conf"
    file.write_text(f"[general]\nsquid_port = {free_port()}\nadmin_email = root@localhost\n")
    told = run("--config", str(file), "--once", "--metadata-url", "").stderr
    assert "[general] squid_port is now [general] cache_port" in told
    assert "[general] admin_email is now [trouble] mail_to" in told


def test_an_install_of_the_agent_needs_no_other_package() -> None:
    code = "import sys, shoal_agent.cli; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], env=environment(), cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    foreign = {name for name in loaded if name.lstrip("_") not in sys.stdlib_module_names}
    assert not foreign & {"requests", "flask", "redis", "geoip2", "shoal_server", "shoal_client"}
