"""Sites to break: on RabbitMQ and Redis, or on nothing but the server itself."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pytest

from shoal_common.amqp import Broker, Tls
from testbed.rabbitmq import RabbitMQ
from testbed.redis import Redis
from testbed.squid import Squid
from tests.conftest import need
from tests.faults.scale import FULL, SHORT, Scale
from tests.faults.site import Parts

StartRedis = Callable[..., Redis]

QUEUE, EXCHANGE = "shoal-heartbeats", "shoal"


@pytest.fixture(
    params=[pytest.param(SHORT, id="short"), pytest.param(FULL, id="full", marks=pytest.mark.slow)]
)
def scale(request: pytest.FixtureRequest) -> Scale:
    """The scenario runs in its short form, and under `make faults` in full."""
    found: Scale = request.param
    return found


@pytest.fixture(scope="session")
def shared_vhost(rabbitmq: RabbitMQ) -> str:
    """The URL of one virtual host for all these tests: to make one and to remove it takes seconds."""
    return rabbitmq.add_vhost(f"faults-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def rabbit_vhost(rabbitmq: RabbitMQ, shared_vhost: str) -> Iterator[str]:
    """The same, as new, on a broker that runs."""
    rabbitmq.resume()
    rabbitmq.start()
    forget_all(shared_vhost)
    yield shared_vhost
    rabbitmq.resume()


def forget_all(url: str) -> None:
    """Remove what servers have declared; that it is not there is no error (AMQP 0-9-1, RabbitMQ)."""
    with pika.BlockingConnection(next(Broker.parse(url, Tls()).parameters("cleaner"))) as connection:
        channel = connection.channel()
        channel.queue_delete(QUEUE)
        channel.exchange_delete(EXCHANGE)


@pytest.fixture
def plain(new_directory: Callable[[str], Path]) -> Parts:
    """One server that listens for heartbeats itself and keeps squids in memory."""
    need(Squid)
    return Parts(new_directory)


@pytest.fixture
def shared(new_directory: Callable[[str], Path], rabbit_vhost: str, start_redis: StartRedis) -> Parts:
    """Several servers over one RabbitMQ and one Redis of this test's own."""
    need(Squid)
    redis = start_redis()
    return Parts(new_directory, rabbit_vhost, rabbit_vhost, redis.url, redis)
