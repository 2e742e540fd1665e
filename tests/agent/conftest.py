"""One broker and one virtual host for all these tests: to make them for each takes longer than the tests."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from testbed.rabbitmq import RabbitMQ, Tls
from tests.conftest import need


@pytest.fixture(scope="session")
def certificates(services_directory: Path) -> Path:
    """ca.pem, cert.pem and key.pem of the broker, and stranger.pem of an authority it is not of."""
    files = services_directory / "certificates"
    files.mkdir()
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(files / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(files / "stranger.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(files / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(files / "key.pem"))
    return files


@pytest.fixture(scope="session")
def rabbitmq(services_directory: Path, certificates: Path) -> Iterator[RabbitMQ]:
    """A broker that speaks TLS too, and that tests may kill: it keeps its virtual hosts."""
    need(RabbitMQ)
    tls = Tls(certificates / "ca.pem", certificates / "cert.pem", certificates / "key.pem")
    with RabbitMQ(services_directory / "rabbitmq-agent", tls=tls) as broker:
        yield broker


@pytest.fixture(scope="session")
def shared_vhost(rabbitmq: RabbitMQ) -> str:
    """The URL of the virtual host."""
    return rabbitmq.add_vhost(f"agent-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def rabbit_vhost(rabbitmq: RabbitMQ, shared_vhost: str) -> Iterator[str]:
    """The same, on a broker that runs; the queues of earlier tests ended with their connections."""
    rabbitmq.resume()
    rabbitmq.start()
    yield shared_vhost
    rabbitmq.resume()
