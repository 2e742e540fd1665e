"""From a heartbeat published to its squid in /nearest, verified through a real squid."""

import statistics
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pika

from benchmarks.figure import Figure
from shoal_common.amqp import ROUTING_KEY
from shoal_common.heartbeat import Heartbeat
from testbed.origin import Origin
from testbed.process import wait_until
from testbed.program import ShoalServer
from testbed.rabbitmq import RabbitMQ
from testbed.redis import Redis
from testbed.squid import Squid

SQUIDS = 20
LIMIT_SECONDS = 1.0
LOCATIONS = "network,site,latitude,longitude\n127.0.0.0/8,here,48.5,-123.3\n"


def run(directory: Path) -> Iterator[Figure]:
    """One figure for the parts without installation, one for RabbitMQ and Redis."""
    addresses = [f"127.40.0.{number}" for number in range(1, SQUIDS + 1)]
    with Origin() as origin, Squid(directory / "squid", listen=addresses) as squid:
        yield _figure(directory / "plain", squid, origin, None, "memory://")
        if not (RabbitMQ.available() and Redis.available()):
            return
        with RabbitMQ(directory / "rabbitmq") as rabbitmq, Redis(directory / "redis") as redis:
            yield _figure(directory / "scaled", squid, origin, rabbitmq.url, redis.url)


def _figure(directory: Path, squid: Squid, origin: Origin, amqp: str | None, store: str) -> Figure:
    object_url = f"{origin.url}/cvmfs/atlas.cern.ch/.cvmfspublished"
    server = ShoalServer(directory, cvmfs_url=object_url, locations=LOCATIONS, amqp=amqp, store=store)
    with server:
        wait_until(lambda: b'"connected"' in _read(f"{server.url}/healthz"), 20.0, "intake connected")
        delays = _delays(server.publish_url, server.url, squid)
    parts = ", ".join(url.partition(":")[0] for url in (server.amqp, store))
    name = f"heartbeat to /nearest, slowest of {SQUIDS} ({parts})"
    print(f"  median {statistics.median(delays):.3f} s")
    return Figure(name, max(delays), "s", LIMIT_SECONDS)


def _delays(amqp: str, url: str, squid: Squid) -> list[float]:
    delays = []
    with pika.BlockingConnection(pika.URLParameters(amqp)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for number in range(1, SQUIDS + 1):
            address = f"127.40.0.{number}"
            beat = Heartbeat(
                f"u{number}", f"sq{number}.example.org", squid.port, time.time(), 0.0, external_ip=address
            )
            began = time.monotonic()
            channel.basic_publish("shoal", ROUTING_KEY, replace(beat, timestamp=time.time()).encode())
            wait_until(lambda: f'"{address}"'.encode() in _read(f"{url}/nearest/{SQUIDS}"), 10.0, address)  # noqa: B023
            delays.append(time.monotonic() - began)
    return delays


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own server
        body: bytes = answer.read()
        return body
