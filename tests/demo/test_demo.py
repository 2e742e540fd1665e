"""`make demo` as a person runs it: what it tells, how it ends, and what it leaves behind."""

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed.process import ROOT, wait_until
from testbed.proxycache import PythonCache
from testbed.rabbitmq import RabbitMQ
from testbed.redis import Redis
from testbed.squid import Squid
from tests.conftest import need
from tests.testbed.fetch import fetch
from tests.testbed.leftovers import living

LAST_LINE = "Every step came true."


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the demo, with a directory for temporary files and a mark in the environment of its own."""

    temporary: Path
    mark: str

    def start(self, *flags: str) -> subprocess.Popen[str]:
        self.temporary.mkdir()
        return subprocess.Popen(
            [sys.executable, "-m", "demo", *flags],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(self.temporary), "DEMO_TEST_MARK": self.mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def leftovers(self) -> Sequence[object]:
        """Processes and files that are still there."""
        return [*living(self.mark), *self.temporary.iterdir()]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, and all that it printed."""

    code: int
    text: str
    leftovers: Sequence[object]


def _new_run(services_directory: Path) -> Run:
    name = f"demo-{uuid.uuid4().hex[:8]}"
    return Run(services_directory / name, f"mark-{name}")


def _finish(run: Run, *flags: str) -> Ended:
    with run.start("--once", *flags) as process:
        text, _ = process.communicate()
    return Ended(process.returncode, text, run.leftovers())


@pytest.fixture
def run(services_directory: Path) -> Run:
    return _new_run(services_directory)


@pytest.fixture(scope="module")
def ended(services_directory: Path) -> Ended:
    """A whole run, in its default form."""
    return _finish(_new_run(services_directory))


@pytest.fixture
def started(run: Run) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a run that is over, in any case, at the end of the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(*flags: str) -> subprocess.Popen[str]:
        processes.append(run.start(*flags))
        return processes[-1]

    yield start
    for process in processes:
        process.terminate()
        process.communicate()


def _read_until(process: subprocess.Popen[str], wanted: str) -> str:
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if wanted in line:
            return read
    pytest.fail(f"ended without {wanted!r}:\n{read}")


def test_every_step_comes_true(ended: Ended) -> None:
    assert ended.code == 0, ended.text
    assert ended.text.rstrip().endswith(LAST_LINE)
    assert re.findall(r"^(\d)\. ", ended.text, re.MULTILINE) == list("123456")


def test_each_worker_is_told_of_its_own_sites_squid_first(ended: Ended) -> None:
    for city in ("Victoria", "Geneva", "Melbourne"):
        assert re.search(
            rf"is in {city}; GET /nearest:\n +1\. squid\.{city.lower()}\.example +[\d,]+ km  its own site\n",
            ended.text,
        )


def test_workers_use_the_nearest_squid_and_move_when_it_dies(ended: Ended) -> None:
    assert re.findall(r"worker in (\w+): (\w+), then ", ended.text) == [
        ("Victoria", "Victoria"),
        ("Geneva", "Geneva"),
        ("Melbourne", "Melbourne"),
        ("Victoria", "Victoria"),
        ("Geneva", "Victoria"),
        ("Melbourne", "Melbourne"),
    ]
    end = ended.text.partition("6. shoal-client runs again")[2]
    assert re.findall(r" after .*//127\.(?:10|30)\.0\.10:", end)
    assert not re.findall(r" after .*//127\.20\.0\.10:", end)


def test_the_lines_before_and_after_are_shown(ended: Ended) -> None:
    chain = r"http://127\.20\.0\.10:\d+;[!-~]+;DIRECT"
    assert re.search(rf"CVMFS_HTTP_PROXY +before +DIRECT\n +after +{chain}\n", ended.text)
    server = r"\(serverurl=http://127\.0\.0\.1:\d+/atlr\)"
    first = r"\(proxyurl=http://127\.20\.0\.10:\d+\)"
    assert re.search(rf"FRONTIER_SERVER +before +{server}\n +after +{server}{first}", ended.text)


def test_what_is_real_and_what_stands_in_is_said(ended: Ended) -> None:
    real = "shoal-client, squid." if Squid.available() else "shoal-client."
    assert f"Real: shoal-server, shoal-agent, {real}\n" in ended.text
    assert ("proxy.py plays squid" in ended.text) is not Squid.available()


def test_output_that_is_no_terminal_has_no_colours(ended: Ended) -> None:
    assert "\033" not in ended.text


def test_nothing_is_left_behind(ended: Ended) -> None:
    assert ended.leftovers == []


def test_a_step_that_does_not_come_true_is_named_and_fails_the_demo(run: Run) -> None:
    ended = _finish(run, "--within", "0.01")
    assert ended.code == 1
    assert 'FAILED: step 2, "An agent beside each squid announces it": not within 0.01 s' in ended.text
    assert LAST_LINE not in ended.text
    assert ended.leftovers == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_ends_everything(
    run: Run, started: Callable[..., subprocess.Popen[str]], number: signal.Signals
) -> None:
    process = started("--once")
    _read_until(process, "3. A worker at each site asks")
    process.send_signal(number)
    assert process.wait(10) == 128 + number
    assert run.leftovers() == []


def test_a_demo_that_is_killed_takes_its_processes_with_it(
    run: Run, started: Callable[..., subprocess.Popen[str]]
) -> None:
    need(PythonCache)
    # Killed itself, nobody could remove the shared memory of its squids.
    process = started("--once", "--cache", "proxy.py")
    _read_until(process, "3. A worker at each site asks")
    process.kill()
    process.wait(10)
    wait_until(lambda: not living(run.mark), 10, "its processes end")


def test_the_status_page_stays_up_until_ctrl_c_also_without_squid(
    run: Run, started: Callable[..., subprocess.Popen[str]]
) -> None:
    need(PythonCache)
    process = started("--cache", "proxy.py")
    told = _read_until(process, "The status page is at ")
    assert "proxy.py plays squid" in told
    url = re.search(r"The status page is at (\S+) ", told)
    assert url is not None
    page = fetch(url.group(1))
    assert page.status_code == 200
    assert "squid.victoria.example" in page.text
    assert "squid.geneva.example" not in page.text
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert run.leftovers() == []


def test_the_same_comes_true_on_rabbitmq_and_redis(run: Run) -> None:
    need(RabbitMQ)
    need(Redis)
    ended = _finish(run, "--broker", "rabbitmq", "--store", "redis")
    assert ended.code == 0, ended.text
    assert "hears heartbeats from a RabbitMQ of the demo's own, keeps squids in a Redis" in ended.text
    assert ended.leftovers == []
