"""Services for the tests: real ones, private to this run, on loopback and free ports."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
import redis

from testbed.origin import Origin
from testbed.process import Missing, Service
from testbed.rabbitmq import RabbitMQ
from testbed.redis import Redis
from testbed.squid import Squid
from testbed.varnish import Purpose, Varnish


class StartSquid(Protocol):
    """Start a squid for this test; the arguments are those of `Squid` but for the directory."""

    def __call__(self, **options: Any) -> Squid: ...


class StartVarnish(Protocol):
    """Start a Varnish for this test in front of `backend` ("host:port")."""

    def __call__(self, backend: str, purpose: Purpose = "cvmfs") -> Varnish: ...


def need(service: type[Service]) -> None:
    """Skip this test if the service's program is missing; under CI=true fail it instead."""
    if service.available():
        return
    reason = str(Missing(service.program, service.package))
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not tested for want of a service, and the command that gets it."""
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple) and report.longrepr[2].startswith("Skipped: needs "):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            reasons[reason] = reasons.get(reason, 0) + 1
    if reasons:
        terminalreporter.section("not tested: missing services")
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"{count} skipped: {reason}")


@pytest.fixture(scope="session")
def services_directory() -> Iterator[Path]:
    """A short path that other users may enter: a squid started by root runs as another one."""
    directory = Path(tempfile.mkdtemp(prefix="shoal-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def new_directory(services_directory: Path) -> Callable[[str], Path]:
    """A function that names a fresh directory for one more service.

    What is set up for a module needs one too: tests change processes to share the work,
    so that one process may come to a module twice.
    """
    return lambda kind: services_directory / f"{kind}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def rabbitmq(services_directory: Path) -> Iterator[RabbitMQ]:
    """One broker for all tests of this process; use `rabbit_vhost` unless the test is about the broker."""
    need(RabbitMQ)
    with RabbitMQ(services_directory / "rabbitmq") as broker:
        yield broker


@pytest.fixture(scope="session")
def redis_server(services_directory: Path) -> Iterator[Redis]:
    """One Redis for all tests of this process."""
    need(Redis)
    with Redis(services_directory / "redis") as server:
        yield server


@pytest.fixture
def rabbit_vhost(rabbitmq: RabbitMQ) -> Iterator[str]:
    """The URL of a virtual host of this test's own."""
    rabbitmq.start()
    rabbitmq.resume()
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield rabbitmq.add_vhost(name)
    if rabbitmq.running:
        rabbitmq.resume()
        rabbitmq.delete_vhost(name)


@pytest.fixture
def redis_url(redis_server: Redis) -> str:
    """The URL of an empty Redis."""
    redis_server.start()
    redis_server.resume()
    with redis.Redis.from_url(redis_server.url, socket_timeout=5) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def start_redis(new_directory: Callable[[str], Path]) -> Iterator[Callable[..., Redis]]:
    """Start a Redis that this test may break; the arguments are those of `Redis` but for the directory."""
    need(Redis)
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Redis(new_directory("redis"), **options))


@pytest.fixture
def start_rabbitmq(new_directory: Callable[[str], Path]) -> Iterator[Callable[..., RabbitMQ]]:
    """Start a broker that this test may break (5 s); the arguments are those of `RabbitMQ`."""
    need(RabbitMQ)
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(RabbitMQ(new_directory("rabbitmq"), **options))


@pytest.fixture
def start_squid(new_directory: Callable[[str], Path]) -> Iterator[StartSquid]:
    """Start one squid, or several, for this test."""
    need(Squid)
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Squid(new_directory("squid"), **options))


@pytest.fixture
def start_varnish(new_directory: Callable[[str], Path]) -> Iterator[StartVarnish]:
    """Start one Varnish, or several, for this test."""
    need(Varnish)
    with ExitStack() as stack:

        def start(backend: str, purpose: Purpose = "cvmfs") -> Varnish:
            return stack.enter_context(Varnish(new_directory("varnish"), backend, purpose))

        yield start


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A healthy origin of this test's own; switch its faults on by `set_fault`."""
    with Origin() as server:
        yield server
