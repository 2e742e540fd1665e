"""The private broker."""

from collections.abc import Callable
from pathlib import Path

import pika
import pytest
import trustme
from pika.exceptions import AMQPError

from testbed.process import wait_until
from testbed.rabbitmq import RabbitMQ, Tls
from tests.testbed.leftovers import living

StartRabbitMQ = Callable[..., RabbitMQ]


def _declare(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    connection.channel().exchange_declare("shoal", exchange_type="topic", durable=True)
    connection.close()


def test_each_virtual_host_is_empty_and_open_to_guest(rabbitmq: RabbitMQ, rabbit_vhost: str) -> None:
    name = rabbit_vhost.rpartition("/")[2]
    assert "shoal" not in rabbitmq.ctl("list_exchanges", "-p", name, "name").split()
    _declare(rabbit_vhost)
    assert "shoal" in rabbitmq.ctl("list_exchanges", "-p", name, "name").split()


def test_a_broker_keeps_durable_exchanges_over_a_kill_and_leaves_nothing_after_it(
    start_rabbitmq: StartRabbitMQ,
) -> None:
    broker = start_rabbitmq()
    _declare(broker.url)
    broker.pause()
    assert not broker.is_ready()
    broker.resume()
    assert broker.is_ready()
    broker.kill()
    assert not broker.is_ready()
    broker.start()
    assert "shoal" in broker.ctl("list_exchanges", "name").split()
    assert living(str(broker.directory))
    broker.stop()
    # The broker's helpers and the port mapper carry its directory in their environment.
    wait_until(lambda: not living(str(broker.directory)), 5.0, "the broker's processes are gone")


def test_a_broker_with_tls_demands_a_client_certificate_if_told_to(
    start_rabbitmq: StartRabbitMQ, tmp_path: Path
) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    ca, certificate, key = tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.cert_pem.write_to_path(str(ca))
    server.cert_chain_pems[0].write_to_path(str(certificate))
    server.private_key_pem.write_to_path(str(key))
    broker = start_rabbitmq(tls=Tls(ca, certificate, key, demand_client=True))

    def connect(client: trustme.LeafCert) -> None:
        parameters = pika.URLParameters(broker.tls_url)
        assert parameters.ssl_options is not None
        context = parameters.ssl_options.context
        authority.configure_trust(context)
        client.configure_cert(context)
        pika.BlockingConnection(parameters).close()

    connect(authority.issue_cert("agent.example.org"))
    with pytest.raises((OSError, AMQPError)):
        connect(stranger.issue_cert("agent.example.org"))
