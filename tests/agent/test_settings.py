"""The agent's settings, and what becomes of the files of older agents."""

from pathlib import Path

import pytest

from shoal_agent.settings import AgentSettings
from shoal_common.errors import SettingsError
from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.program import LogLevel
from shoal_common.settings import Loaded, load, sample

SAMPLE_OF_1_0_2 = """
[general]
interval = 30
cloud = elephant
admin_email = root@localhost
squid_port = 3129
external_ip = 206.12.48.10
max_load = 122000

[rabbitmq]
amqp_server_url = shoal.heprc.uvic.ca
amqp_port = 5673
amqp_virtual_host = /
amqp_exchange = reef
use_credentials = True
amqp_username = agent
amqp_password = p@ss/word
use_ssl = False
amqp_ca_cert = /etc/ca.pem
amqp_client_cert = /etc/cert.pem
amqp_client_key = /etc/key.pem

[logging]
log_file = /var/log/shoal_agent.log
logging_level = ERROR
"""


def read(text: str, directory: Path) -> Loaded[AgentSettings]:
    file = directory / "shoal_agent.conf"
    file.write_text(text)
    return load(AgentSettings, flags={}, environ={}, path=file, usual=())


def test_nothing_has_to_be_set() -> None:
    settings = load(AgentSettings, flags={}, environ={}, path=None, usual=()).settings
    assert (settings.amqp, settings.exchange, settings.interval) == ("amqp://localhost:5672/", "shoal", 30.0)
    assert (settings.external_ip, settings.cache_port, settings.max_load) == (None, None, None)


def test_an_old_file_is_read(tmp_path: Path) -> None:
    settings = read(SAMPLE_OF_1_0_2, tmp_path).settings
    assert settings.amqp == "amqp://agent:p%40ss%2Fword@shoal.heprc.uvic.ca:5673/"
    assert (settings.exchange, settings.cache_port, settings.external_ip) == ("reef", 3129, "206.12.48.10")
    assert (settings.max_load, settings.log_level) == (122000.0, LogLevel.ERROR)


@pytest.mark.parametrize(
    "old",
    ["cloud", "admin_email", "squid_port", "amqp_server_url", "amqp_virtual_host", "use_ssl", "log_file"],
)
def test_each_old_key_is_told_of(old: str, tmp_path: Path) -> None:
    assert any(old in warning for warning in read(SAMPLE_OF_1_0_2, tmp_path).warnings)


def test_the_address_for_mail_of_an_old_file_is_kept(tmp_path: Path) -> None:
    assert read(SAMPLE_OF_1_0_2, tmp_path).settings.mail_to == ("root@localhost",)


def test_keys_of_the_oldest_agents_are_taken_or_told_of(tmp_path: Path) -> None:
    text = "[general]\ndnsname = sq1.example.org\ninterface = ens3\naccess_level = global\n"
    loaded = read(text, tmp_path)
    assert (loaded.settings.hostname, loaded.settings.interface) == ("sq1.example.org", "ens3")
    assert any("access_level has no effect" in warning for warning in loaded.warnings)


def test_the_file_of_the_newest_old_agent_says_cache_port(tmp_path: Path) -> None:
    assert read("[general]\ncache_port = 6081\n", tmp_path).settings.cache_port == 6081


@pytest.mark.parametrize("interval", [61, 300, 86400])
def test_an_interval_of_an_old_file_that_servers_cannot_wait_for_is_shortened_and_told(
    interval: int, tmp_path: Path
) -> None:
    loaded = read(f"[general]\ninterval = {interval}\n", tmp_path)
    assert loaded.settings.interval == 60
    assert len(loaded.warnings) == 1
    assert (
        f"[general] interval: {interval} s is too long for the servers, 60 s are used" in loaded.warnings[0]
    )


@pytest.mark.parametrize("interval", [1, 30, 60])
def test_an_interval_that_servers_can_wait_for_is_kept(interval: int, tmp_path: Path) -> None:
    loaded = read(f"[general]\ninterval = {interval}\n", tmp_path)
    assert (loaded.settings.interval, loaded.warnings) == (interval, ())


def test_an_interval_that_somebody_sets_anew_is_refused_with_the_range_when_servers_cannot_wait_for_it() -> (
    None
):
    with pytest.raises(SettingsError, match=r"--interval: '61' .* seconds from 0\.2 to 60"):
        load(AgentSettings, flags={"interval": "61"}, environ={}, path=None, usual=())


def test_the_sample_file_holds_the_defaults(tmp_path: Path) -> None:
    defaults = load(AgentSettings, flags={}, environ={}, path=None, usual=()).settings
    assert read(sample(AgentSettings, "The agent."), tmp_path).settings == defaults


def test_everything_can_be_set_in_the_file(tmp_path: Path) -> None:
    text = """
[amqp]
url = amqps://u:p@b1:5671,b2/v
exchange = shoal
ca_file = /etc/ca.pem
[general]
interval = 10
cache_type = varnish
upstream = frontier
[check]
urls = http://a/cvmfs/x/.cvmfspublished, http://b/cvmfs/x/.cvmfspublished
frontier_urls = http://f:8000/atlr
interval = 120
retry = 5
timeout = 2
rise = 1
fall = 1
"""
    settings = read(text, tmp_path).settings
    assert (settings.cache_type, settings.upstream) == (CacheType.VARNISH, Upstream.FRONTIER)
    assert len(settings.check_urls) == 2
    assert (settings.check_interval, settings.check_fall, settings.ca_file) == (120.0, 1, Path("/etc/ca.pem"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[general]\nexternal_ip = squid.example.org\n", "an IPv4 address"),
        ("[general]\nexternal_ip = $(reboot)\n", "an IPv4 address"),
        ("[general]\nhostname = a b\n", "a host name"),
        ("[general]\ncache_port = 99999\n", "from 1 to 65535"),
        ("[general]\ninterval = 0\n", "seconds from"),
        ("[general]\ninterval = nan\n", "seconds from"),
        ("[general]\ncache_type = apache\n", "squid, varnish"),
        ("[amqp]\nurl = http://localhost/\n", "amqp://"),
        ("[amqp]\nexchange = a b\n", "letters"),
        ("[check]\nurls = ftp://a/\n", "http://"),
        ("[general]\nintervall = 3\n", "unknown"),
        ("[general]\ncache_address = here\n", "an IPv4 or IPv6 address"),
        ("[cloud]\nmetadata_url = ftp://a/\n", "http://"),
        ("[cloud]\nstun_server = a:b:c\n", "HOST:PORT"),
        ("[trouble]\non_unhealthy = 'a\n", "a command line"),
        ("[trouble]\nmail_to = nobody\n", "a mail address"),
    ],
)
def test_a_bad_value_is_refused_with_what_is_allowed(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=told):
        read(text, tmp_path)
