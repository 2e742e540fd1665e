"""A broker's URL becomes connections; old files' broker keys become a URL; no password reaches a log."""

from pathlib import Path

import pytest
import trustme

from shoal_common.amqp import EXCHANGE_TYPE, Broker, Tls, compose_broker_url, ssl_context
from shoal_common.errors import SettingsError
from shoal_common.hosts import HostPort, redacted

NO_TLS = Tls()


@pytest.mark.parametrize(
    ("url", "hosts", "vhost"),
    [
        ("amqp://h", (HostPort("h", 5672),), "/"),
        ("amqp://h/", (HostPort("h", 5672),), "/"),
        ("amqp://h/%2F", (HostPort("h", 5672),), "/"),
        ("amqp://h:1234/prod", (HostPort("h", 1234),), "prod"),
        ("amqp://h/a%2Fb", (HostPort("h", 5672),), "a/b"),
        ("amqps://h", (HostPort("h", 5671),), "/"),
        ("amqps://a,b:5673/v", (HostPort("a", 5671), HostPort("b", 5673)), "v"),
        ("amqp://[::1]:5672/", (HostPort("::1", 5672),), "/"),
    ],
)
def test_a_url_names_hosts_and_vhost(url: str, hosts: tuple[HostPort, ...], vhost: str) -> None:
    broker = Broker.parse(url, NO_TLS)
    assert (broker.hosts, broker.vhost, broker.secure) == (hosts, vhost, url.startswith("amqps"))


@pytest.mark.parametrize(
    ("url", "user", "password"),
    [
        ("amqp://h", "guest", "guest"),
        ("amqp://me:secret@h", "me", "secret"),
        ("amqp://me:p%40ss%2Fw%3A@h", "me", "p@ss/w:"),
        ("amqp://me:a@b@h", "me", "a@b"),
        ("amqp://me:a:b@h", "me", "a:b"),
    ],
)
def test_a_url_names_user_and_password(url: str, user: str, password: str) -> None:
    broker = Broker.parse(url, NO_TLS)
    assert (broker.user, broker.password) == (user, password)


@pytest.mark.parametrize(
    "url",
    [
        "amqp://",
        "amqp://me:secret@",
        "amqp://me:secret@h:x",
        "amqp://a,,b",
        "amqp://h h",
        "amqp://[::1/",
        "amqp://h:99999",
    ],
)
def test_a_url_without_a_usable_place_is_a_settings_error(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Broker.parse(url, NO_TLS)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://me:secret@h:5672/v", "amqp://me:***@h:5672/v"),
        ("amqp://me:sec@ret@h/v", "amqp://me:***@h/v"),
        ("amqp://me@h/v", "amqp://me@h/v"),
        ("amqp://h/v", "amqp://h/v"),
    ],
)
def test_a_url_in_a_log_has_no_password(url: str, shown: str) -> None:
    assert redacted(url) == shown


@pytest.mark.parametrize(
    "url",
    ["amqp://me:se#cret@h/v", "amqp://me:se?cret@h/v", "amqp://me:se/cret@h/v", "amqp://me:se[cret@h/v"],
)
def test_a_password_that_should_have_been_quoted_is_not_in_the_log_either(url: str) -> None:
    assert "cret" not in redacted(url)


def test_a_broker_shown_in_a_traceback_has_no_password() -> None:
    assert "secret" not in repr(Broker.parse("amqp://me:secret@h", NO_TLS))


def test_each_host_of_a_cluster_gets_its_connection_parameters() -> None:
    broker = Broker.parse("amqp://me:secret@a,b:1234/v", NO_TLS)
    first, second = broker.parameters("shoal-agent sq1")
    assert [(p.host, p.port, p.virtual_host) for p in (first, second)] == [("a", 5672, "v"), ("b", 1234, "v")]
    assert first.ssl_options is None
    assert (first.client_properties or {})["connection_name"] == "shoal-agent sq1"


def test_a_connection_waits_for_nothing_for_ever() -> None:
    (parameters,) = Broker.parse("amqp://h", NO_TLS).parameters("x")
    assert parameters.socket_timeout
    assert parameters.stack_timeout
    assert parameters.blocked_connection_timeout
    assert parameters.heartbeat


def test_a_secure_connection_verifies_the_host_it_names(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(authority))
    (parameters,) = Broker.parse("amqps://h.example.org", Tls(authority)).parameters("x")
    assert parameters.ssl_options is not None
    assert parameters.ssl_options.server_hostname == "h.example.org"
    assert parameters.ssl_options.context.check_hostname


def test_our_own_certificate_is_taken_with_its_key(tmp_path: Path) -> None:
    leaf = trustme.CA().issue_cert("agent.example.org")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    leaf.cert_chain_pems[0].write_to_path(str(certificate))
    leaf.private_key_pem.write_to_path(str(key))
    assert ssl_context(Tls(None, certificate, key))


def test_a_certificate_file_that_is_missing_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.pem"):
        ssl_context(Tls(tmp_path / "none.pem"))


def test_a_certificate_file_that_holds_none_is_told_by_name(tmp_path: Path) -> None:
    file = tmp_path / "bad.pem"
    file.write_text("no certificate\n")
    with pytest.raises(SettingsError, match=r"bad\.pem"):
        ssl_context(Tls(None, file))


def test_the_exchange_is_the_one_that_older_servers_declare() -> None:
    assert EXCHANGE_TYPE == "topic"


# --- keys of older files ----------------------------------------------------------------------------


def composed(**keys: str) -> str:
    return compose_broker_url({f"rabbitmq.{key}": text for key, text in keys.items()})[0]["amqp.url"]


def test_host_and_port_of_an_old_file_become_a_url() -> None:
    url = composed(amqp_server_url="shoal.example.org", amqp_port="5672", use_credentials="False")
    assert Broker.parse(url, NO_TLS) == Broker.parse("amqp://shoal.example.org:5672/", NO_TLS)


def test_an_old_file_that_names_only_some_keys_gets_the_old_defaults() -> None:
    assert Broker.parse(composed(amqp_port="1234"), NO_TLS).hosts == (HostPort("localhost", 1234),)


@pytest.mark.parametrize("spelling", ["amqp://h", "amqp://h/", "h"])
def test_a_host_that_was_once_written_as_a_url_is_read(spelling: str) -> None:
    assert Broker.parse(composed(amqp_server_url=spelling), NO_TLS).hosts == (HostPort("h", 5672),)


@pytest.mark.parametrize("password", ["plain", "p@ss/w:#?%", "ü &"])
def test_credentials_survive_whatever_they_hold(password: str) -> None:
    url = composed(amqp_server_url="h", use_credentials="True", amqp_username="me", amqp_password=password)
    broker = Broker.parse(url, NO_TLS)
    assert (broker.user, broker.password) == ("me", password)


def test_credentials_are_taken_only_where_the_file_says_so() -> None:
    url = composed(amqp_server_url="h", use_credentials="False", amqp_username="me", amqp_password="secret")
    assert Broker.parse(url, NO_TLS).user == "guest"


def test_a_url_that_is_there_already_wins() -> None:
    values, _ = compose_broker_url({"amqp.url": "amqp://new", "rabbitmq.amqp_port": "1"})
    assert values == {"amqp.url": "amqp://new"}


def test_a_file_without_old_keys_is_left_alone() -> None:
    assert compose_broker_url({"general.interval": "30"}) == ({"general.interval": "30"}, [])


def test_the_warning_names_the_keys_and_not_the_password() -> None:
    _, (warning,) = compose_broker_url(
        {"rabbitmq.use_credentials": "yes", "rabbitmq.amqp_password": "secret"}
    )
    assert "[rabbitmq] amqp_password" in warning
    assert "secret" not in warning


def test_certificates_without_tls_are_a_mistake_that_is_told() -> None:
    for url, tls in (("amqp://a", Tls(ca_file=Path("ca.pem"))), ("amqps://a", Tls(key_file=Path("key.pem")))):
        with pytest.raises(SettingsError, match="an effect"):
            Broker.parse(url, tls)
