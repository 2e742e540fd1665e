"""The broker's credentials as the settings file has them now, and those that only a restart renews."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal_agent import parts
from shoal_agent.agent import Agent
from shoal_agent.duties import REFUSED_SECONDS, duties
from shoal_agent.renewal import Renewal
from shoal_agent.settings import AgentSettings
from shoal_agent.supervise import Threads
from shoal_agent.systemd import ServiceManager
from shoal_common.amqp import Broker
from shoal_common.errors import SettingsError
from tests.agent.support import broker


class File:
    """A settings file that only holds a URL."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reads = 0

    def write(self, url: str) -> None:
        """As editors and configuration management do: the file is replaced."""
        new = self.path.with_suffix(".new")
        new.write_text(url)
        new.replace(self.path)

    def read(self) -> Broker:
        self.reads += 1
        url = self.path.read_text()
        if not url.startswith("amqp"):
            raise SettingsError(["line 1: a [section] must come first"])
        return broker(url)


@pytest.fixture
def file(tmp_path: Path) -> File:
    made = File(tmp_path / "shoal_agent.conf")
    made.write("amqp://squid:old@broker/")
    return made


@pytest.fixture
def renewal(file: File) -> Renewal:
    return Renewal(file.read(), file.path, file.read)


def test_a_file_that_did_not_change_is_not_read_again(file: File, renewal: Renewal) -> None:
    assert [renewal().password for _ in range(3)] == ["old"] * 3
    assert file.reads == 1


def test_a_new_password_in_the_file_is_used(
    file: File, renewal: Renewal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file.write("amqp://squid:new@broker/")
    assert [renewal().password for _ in range(2)] == ["new"] * 2
    assert len(caplog.records) == 1
    assert not {"old", "new", "squid:"} & set(caplog.records[0].getMessage().split())


def test_a_file_with_a_mistake_changes_nothing_until_it_is_mended(
    file: File, renewal: Renewal, caplog: pytest.LogCaptureFixture
) -> None:
    file.write("garbage")
    assert [renewal().password for _ in range(3)] == ["old"] * 3
    assert ["cannot be used" in record.getMessage() for record in caplog.records] == [True]
    file.write("amqp://squid:new@broker/")
    assert renewal().password == "new"


def test_a_file_that_is_gone_changes_nothing(file: File, renewal: Renewal) -> None:
    file.path.unlink()
    assert renewal().password == "old"
    file.write("amqp://squid:new@broker/")
    assert renewal().password == "new"


def test_without_a_file_the_broker_stays(file: File) -> None:
    assert Renewal(file.read(), None, file.read)().password == "old"


Refused = Callable[[float, dict[str, str]], bool]


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Whether an agent that was refused for so many seconds ends, in such an environment."""

    def after(seconds: float, environ: dict[str, str]) -> bool:
        monkeypatch.setattr(Agent, "refused_for", lambda *_: seconds)
        settings = AgentSettings(cache_port=1, metadata_url=None, announce=False)
        made, threads = parts.make(settings), Threads(threading.Event(), ServiceManager(environ))
        agent = made.agent(broker("amqp://broker/"))
        for duty in duties(settings, made, agent, threads, environ):
            duty()
        return threads.stop.is_set()

    return after


SERVICE = {"NOTIFY_SOCKET": "/nonexistent/notify", "SHOAL_AMQP": "amqp://squid:old@broker/"}


def test_a_service_whose_credentials_come_from_its_environment_ends_to_be_given_new_ones(
    ends: Refused,
) -> None:
    assert not ends(REFUSED_SECONDS - 1, SERVICE)
    assert ends(REFUSED_SECONDS, SERVICE)


@pytest.mark.parametrize("missing", list(SERVICE))
def test_who_would_not_be_given_new_credentials_at_a_restart_waits_on(ends: Refused, missing: str) -> None:
    assert not ends(10 * REFUSED_SECONDS, {key: text for key, text in SERVICE.items() if key != missing})
