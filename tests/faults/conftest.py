"""Sites to break: on RabbitMQ and Redis, or on nothing but the server itself."""

from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.redis import Redis
from testbed.squid import Squid
from tests.conftest import need
from tests.faults.scale import FULL, SHORT, Scale
from tests.faults.site import Parts

StartRedis = Callable[..., Redis]


@pytest.fixture(
    params=[pytest.param(SHORT, id="short"), pytest.param(FULL, id="full", marks=pytest.mark.slow)]
)
def scale(request: pytest.FixtureRequest) -> Scale:
    """The scenario runs in its short form, and under `make faults` in full."""
    found: Scale = request.param
    return found


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
