"""Two authorities, a broker that demands certificates, a squid to announce: for all tests here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.origin import Origin
from testbed.proxycache import PythonCache
from testbed.rabbitmq import RabbitMQ
from testbed.rabbitmq import Tls as BrokerTls
from testbed.squid import Squid as Cache
from tests.conftest import need
from tests.security.papers import Authority, Papers
from tests.security.parties import PASSWORD, USER, VHOST, Squid
from tests.security.relay import Relays


@pytest.fixture(scope="session")
def directory(services_directory: Path) -> Path:
    """Where certificates are."""
    path = services_directory / "papers"
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def authority(directory: Path) -> Authority:
    """The one that all trust who are set up rightly."""
    return Authority(directory, "shoal")


@pytest.fixture(scope="session")
def stranger(directory: Path) -> Authority:
    """One that nobody trusts, as long as nothing is renewed."""
    return Authority(directory, "stranger")


@pytest.fixture(scope="session")
def broker_papers(authority: Authority) -> Papers:
    """The broker's files, which a test may replace if it puts them back."""
    return authority.issue("localhost")


@pytest.fixture(scope="session")
def broker(services_directory: Path, broker_papers: Papers) -> Iterator[RabbitMQ]:
    """A RabbitMQ that demands certificates on its TLS port and has a user and a virtual host for us."""
    need(RabbitMQ)
    tls = BrokerTls(broker_papers.ca, broker_papers.certificate, broker_papers.key, demand_client=True)
    with RabbitMQ(services_directory / "rabbitmq-tls", tls=tls) as rabbitmq:
        rabbitmq.add_vhost(VHOST)
        rabbitmq.ctl("add_user", USER, PASSWORD)
        rabbitmq.ctl("set_permissions", "-p", VHOST, USER, ".*", ".*", ".*")
        yield rabbitmq


@pytest.fixture(scope="session")
def squid(services_directory: Path) -> Iterator[Squid]:
    """A healthy cache, and the object by which its agents see that."""
    kind = Cache if Cache.available() else PythonCache
    with Origin() as origin, kind(services_directory / "cache-for-tls") as cache:
        yield Squid(cache.port, f"{origin.url}/cvmfs/atlas.cern.ch/.cvmfspublished")


@pytest.fixture(scope="session")
def relays() -> Iterator[Relays]:
    """Doors that count."""
    with Relays() as doors:
        yield doors
