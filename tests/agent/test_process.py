"""The program as it is run: command line, signals, exit codes, what it says."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shoal_common.version import VERSION
from testbed.origin import Origin
from testbed.ports import free_port
from testbed.process import ROOT, Service, wait_until
from testbed.proxycache import PythonCache
from testbed.rabbitmq import RabbitMQ
from testbed.squid import Squid
from tests.agent.support import Ear

PUBLISHED = "/cvmfs/atlas.cern.ch/.cvmfspublished"
COMMAND = (sys.executable, "-m", "shoal_agent.cli")
ENDS_WITHIN = 2.0


class Program(Service):
    """`shoal-agent` as a child process."""

    program = "python3"
    package = "python3"

    def __init__(self, directory: Path, arguments: list[str]) -> None:
        super().__init__(directory)
        self._arguments = arguments

    def command(self) -> list[str]:
        return [*COMMAND, *self._arguments]

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


Arguments = Callable[..., list[str]]


@pytest.fixture
def arguments(cache: Squid | PythonCache, origin: Origin, rabbit_vhost: str) -> Arguments:
    """Flags for an agent beside `cache`, to which further ones can be given."""

    def made(*more: str, amqp: str = rabbit_vhost) -> list[str]:
        return [
            *("--amqp", amqp, "--cache-port", str(cache.port), "--external-ip", "206.12.48.10"),
            *("--check-urls", origin.url + PUBLISHED, "--hostname", "sq1.example.org"),
            *("--check-timeout", "1", "--check-retry", "0.2", *more),
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
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
        ear.await_bodies(heard + 10)
        assert {message["state"] for message in ear.messages()} == {"up"}
        assert "is bad" not in agent.tail()


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
    told = run("--config", str(file), "--once").stderr
    assert "[general] squid_port is now [general] cache_port" in told
    assert "[general] admin_email has no effect" in told


def test_an_install_of_the_agent_needs_no_other_package() -> None:
    code = "import sys, shoal_agent.cli; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], env=environment(), cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    foreign = {name for name in loaded if name.lstrip("_") not in sys.stdlib_module_names}
    assert not foreign & {"requests", "flask", "redis", "geoip2", "shoal_server", "shoal_client"}
