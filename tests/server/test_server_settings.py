"""The server's settings: defaults, files of older servers, mistakes, and what is too dangerous to run."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shoal_common.errors import SettingsError
from shoal_common.hosts import HostPort
from shoal_common.origins import STRATUM_ONES
from shoal_common.program import LogLevel, command_line
from shoal_common.settings import Loaded, Option, load
from shoal_server.build import Role, build
from shoal_server.settings import ServerSettings

RELEASED = """\
[general]
shoal_dir = /var/www/shoal/
geolitecity_path = /var/www/shoal/
geolitecity_url = http://geolite.maxmind.com/download/geoip/database/GeoLiteCity.dat.gz
geolitecity_update = 2592000
geolitecity_update_time = 2592000
geodomain_path = /var/www/shoal/
[squid]
squid_cleanse_interval = 15
squid_inactive_time = 240
squid_verification = False
squid_verify_interval = 3600
squid_max_load = 122000
squid_verified_default = False
squid_loadConstant = 1
squid_distLoadWeight = 0.5
[rabbitmq]
amqp_server_url = broker.example.org
amqp_port = 5673
amqp_virtual_host = /
amqp_exchange = cernvm
amqp_exchange_type = topic
use_ssl = False
amqp_ca_cert = /etc/ca.pem
amqp_client_cert = /etc/cert.pem
amqp_client_key = /etc/key.pem
use_credentials = True
amqp_username = me
amqp_password = p@ss:w/rd
[webpy]
webpy_cache = False
[logging]
log_file = /var/log/shoal_server.log
logging_level = WARNING
[error]
error_reconnect_time = 30
error_reconnect_attempts = 10
"""
"""A file of the servers up to 0.9, with every key that they knew."""
NEWEST = RELEASED.replace("[squid]", "[cache]").replace("\nsquid_", "\ncache_")
"""The same as the last servers before 2.0 had it."""
KEYS = [line.partition(" ")[0].lower() for line in RELEASED.splitlines() if "=" in line]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shoal_server.conf"


def read(
    file: Path | None = None, text: str = "", environ: Mapping[str, str] | None = None
) -> Loaded[ServerSettings]:
    if file:
        file.write_text(text)
    return load(ServerSettings, flags={}, environ=environ or {}, path=file, usual=[])


def mistakes(
    file: Path | None = None, text: str = "", environ: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read(file, text, environ)
    return tuple(caught.value.mistakes)


# --- defaults ---------------------------------------------------------------------------------------


def test_without_a_file_it_is_a_whole_server_in_one_process() -> None:
    settings = read().settings
    assert settings == ServerSettings()
    assert (settings.amqp, settings.store) == ("embedded://127.0.0.1:5672", "memory://")
    assert settings.listen == HostPort("0.0.0.0", 8080)
    assert settings.verify is True
    assert settings.trusted_proxies == ()


def test_squids_are_forgotten_when_deployed_servers_forgot_them() -> None:
    settings = ServerSettings()
    assert (settings.suspect_after, settings.dead_after) == (90, 175)


def test_squids_are_checked_by_several_origins_on_several_hosts() -> None:
    assert len({url.split("/")[2] for url in STRATUM_ONES}) == len(STRATUM_ONES) >= 3


# --- files of older servers -------------------------------------------------------------------------


@pytest.mark.parametrize("text", [RELEASED, NEWEST], ids=["released", "newest"])
def test_a_file_of_an_older_server_keeps_its_meaning(file: Path, text: str) -> None:
    settings = read(file, text).settings
    assert settings.dead_after == 240
    assert settings.verify is False
    assert settings.verify_interval == 3600
    assert settings.amqp == "amqp://me:p%40ss%3Aw%2Frd@broker.example.org:5673/"
    assert settings.exchange == "cernvm"
    assert settings.log_level is LogLevel.WARNING


@pytest.mark.parametrize("text", [RELEASED, NEWEST], ids=["released", "newest"])
@pytest.mark.parametrize("key", KEYS)
def test_each_old_key_is_told_of(file: Path, text: str, key: str) -> None:
    old = key.replace("squid_", "cache_") if text is NEWEST else key
    warnings = read(file, text).warnings
    told = [
        warning for warning in warnings if f"] {old} " in f"{warning} ".replace(",", " ").replace(":", " ")
    ]
    assert len(told) == 1
    assert told[0].startswith(f"{file}: [")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[squid]\nsquid_inactive_time = 240", "[squids] dead_after"),
        ("[cache]\ncache_inactive_time = 240", "[squids] dead_after"),
        ("[squid]\nsquid_verification = False", "[verification] enabled"),
        ("[cache]\ncache_verify_interval = 60", "[verification] interval"),
        ("[rabbitmq]\namqp_exchange = shoal", "[amqp] exchange"),
        ("[rabbitmq]\namqp_server_url = localhost", "[amqp] url"),
        ("[rabbitmq]\nuse_ssl = True", "[amqp] url"),
        ("[general]\ngeolitecity_path = /x", "[geo] databases"),
        ("[logging]\nlogging_level = ERROR", "[logging] level"),
    ],
)
def test_a_warning_names_the_key_that_took_the_old_ones_place(file: Path, old: str, new: str) -> None:
    (warning,) = read(file, old + "\n").warnings
    assert new in warning


def test_credentials_count_only_where_the_old_file_switched_them_on(file: Path) -> None:
    text = RELEASED.replace("use_credentials = True", "use_credentials = False")
    assert read(file, text).settings.amqp == "amqp://broker.example.org:5673/"


def test_no_warning_shows_the_password(file: Path) -> None:
    assert "w/rd" not in "\n".join(read(file, RELEASED).warnings)


def test_a_new_key_wins_over_an_old_one(file: Path) -> None:
    loaded = read(file, RELEASED + "[amqp]\nurl = amqp://new\n[squids]\ndead_after = 200\n")
    assert (loaded.settings.amqp, loaded.settings.dead_after) == ("amqp://new", 200)


def test_a_bad_value_under_an_old_key_is_told_by_that_key(file: Path) -> None:
    (mistake,) = mistakes(file, "[squid]\nsquid_inactive_time = soon\n")
    assert mistake.startswith(
        f"{file}: [squid] squid_inactive_time: 'soon' will not do; it takes a number of "
    )


# --- mistakes ---------------------------------------------------------------------------------------

BAD = {
    "http.listen": ["nowhere", "h:99999", "::1:80", "h:", ""],
    "http.trusted_proxies": ["10.0.0.0/33", "proxy.example.org", "10.0.0.1;10.0.0.2"],
    "amqp.url": ["localhost", "http://h", "amqp://h ost", ""],
    "amqp.anonymous": ["maybe", ""],
    "amqp.exchange": ["", "a b", "é", "x" * 128],
    "amqp.queue": ["a b", "x" * 128],
    "store.url": ["/var/lib/shoal", "mysql://h", ""],
    "squids.suspect_after": ["0", "soon", "nan", "inf", "1e9"],
    "squids.dead_after": ["0", "-1", ""],
    "squids.hold_cap": ["-1", "86401"],
    "verification.enabled": ["2"],
    "verification.interval": ["0.5"],
    "verification.timeout": ["0", "61"],
    "verification.cvmfs_urls": ["cvmfs.example.org", "https://h/x", "http://"],
    "verification.frontier_urls": ["ftp://h/"],
    "logging.level": ["loud"],
}


@pytest.mark.parametrize(("path", "text"), [(path, text) for path, texts in BAD.items() for text in texts])
def test_a_bad_value_is_told_with_file_section_key_and_what_is_allowed(
    file: Path, path: str, text: str
) -> None:
    section, _, key = path.partition(".")
    (option,) = [option for option in ServerSettings.options() if option.path == path]
    (mistake,) = mistakes(file, f"[{section}]\n{key} = {text}\n")
    assert mistake.startswith(f"{file}: [{section}] {key}: ")
    assert mistake.endswith(f"it takes {option.kind.allowed}")


@pytest.mark.parametrize("text", ["[http]\nport = 80\n", "[squid]\nsquid_colour = red\n", "[web]\nx = 1\n"])
def test_an_unknown_key_is_told_with_those_that_there_are(file: Path, text: str) -> None:
    (mistake,) = mistakes(file, text)
    assert mistake.startswith(f"{file}: [")
    assert "is unknown; " in mistake


@pytest.mark.parametrize("option", ServerSettings.options(), ids=lambda option: option.name)
def test_every_key_is_a_flag_and_a_variable_too(option: Option) -> None:
    flags = command_line("shoal-server", "", ServerSettings).format_help()
    assert option.flags[-1] in flags
    text = option.kind.show(option.default)
    assert read(environ={option.variable: text}).settings == ServerSettings()


def test_a_bad_variable_is_told_by_its_name() -> None:
    (mistake,) = mistakes(environ={"SHOAL_DEAD_AFTER": "soon"})
    assert mistake.startswith("SHOAL_DEAD_AFTER: 'soon' will not do")


def test_a_variable_wins_over_the_file(file: Path) -> None:
    assert read(file, "[squids]\ndead_after = 200\n", {"SHOAL_DEAD_AFTER": "300"}).settings.dead_after == 300


def test_the_flags_of_the_manual_exist() -> None:
    parser = command_line("shoal-server", "", ServerSettings)
    said = "--listen h:1 --amqp amqp://h --store redis://h --geoip /a --geoip /b --locations /c"
    args = parser.parse_args(said.split())
    settings = load(ServerSettings, flags=vars(args), environ={}, path=None, usual=[]).settings
    assert settings.listen == HostPort("h", 1)
    assert (settings.amqp, settings.store) == ("amqp://h", "redis://h")
    assert (settings.geoip, settings.locations) == ((Path("/a"), Path("/b")), Path("/c"))


def test_every_default_in_seconds_is_finite() -> None:
    settings = ServerSettings()
    assert all(map(math.isfinite, (settings.suspect_after, settings.dead_after, settings.hold_cap)))


# --- what is refused when the parts are put together --------------------------------------------------


def refusal(**changes: Any) -> str:
    """Why no server is made with these settings."""
    with pytest.raises(SettingsError) as caught:
        build(ServerSettings(listen=HostPort("127.0.0.1", 0), **changes), list(Role))
    return str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "embedded://0.0.0.0:0",
        "embedded://192.0.2.1:0",
        "embedded://shoal.example.org",
        "embedded://[::]:0",
        "embedded://user@0.0.0.0:0",
        "embedded://:password@0.0.0.0:0",
    ],
)
def test_a_listener_that_others_reach_without_a_password_is_refused(url: str) -> None:
    told = refusal(amqp=url)
    assert "[amqp] url" in told
    assert "user:password@" in told
    assert "anonymous = yes" in told


def test_tls_without_a_certificate_is_refused() -> None:
    assert "cert_file" in refusal(amqp="embedded+tls://127.0.0.1:0")


@pytest.mark.parametrize("url", ["embedded://", "embedded://h:x", "embedded://a,b", "amqp://h:99999/"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    assert f"{url}: " in refusal(amqp=url)


def test_a_password_in_a_bad_url_is_not_told() -> None:
    told = refusal(amqp="embedded://me:secret@h:x")
    assert "secret" not in told
    assert "me:***@h:x" in told


@pytest.mark.parametrize("changes", [{"geoip": (Path("/none.mmdb"),)}, {"locations": Path("/none.csv")}])
def test_a_missing_file_is_told_by_name(changes: dict[str, object]) -> None:
    assert "/none." in refusal(**changes)


def test_a_state_file_in_a_directory_that_is_not_there_is_told() -> None:
    assert "/none/state" in refusal(store="memory:///none/state")
