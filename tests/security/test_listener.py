"""Whom the listener lets in, what it says of the others, and how its certificates are renewed."""

import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pika
import pytest

from shoal_common.amqp import Broker, Tls, listener_context
from shoal_common.amqp_trouble import TROUBLE, explain
from shoal_common.errors import SettingsError
from shoal_server.intake.embedded import Credentials, EmbeddedIntake
from testbed.ports import free_port
from tests.security.papers import Authority, Papers
from tests.security.parties import PASSWORD, SECRET, USER, VHOST, WRONG_PASSWORD
from tests.server.process import run


class Nothing:
    """A reception that takes all and keeps nothing."""

    def take(self, bodies: Sequence[bytes]) -> None:
        pass


def tls_of(papers: Papers) -> Tls:
    return Tls(papers.ca, papers.certificate, papers.key)


@contextmanager
def listening(make: Callable[[], ssl.SSLContext] | None) -> Iterator[int]:
    """A listener; gives its port."""
    intake = EmbeddedIntake(
        "127.0.0.1",
        0,
        Nothing(),
        credentials=Credentials(USER, PASSWORD),
        virtual_host=VHOST,
        ssl_context=make,
    )
    intake.start()
    try:
        yield intake.address[1]
    finally:
        intake.stop()


def refusal(
    port: int,
    tls: Tls,
    *,
    scheme: str = "amqps",
    host: str = "localhost",
    password: str = PASSWORD,
    vhost: str = VHOST,
) -> str:
    """What a client is told in one line; nothing if it gets in."""
    broker = Broker.parse(f"{scheme}://{USER}:{password}@{host}:{port}/{vhost}", tls)
    try:
        pika.BlockingConnection(next(broker.parameters("test"))).close()
    except TROUBLE as error:
        return explain(error)
    return ""


@pytest.fixture
def own(authority: Authority) -> Papers:
    """The listener's files."""
    return authority.issue("localhost")


@pytest.fixture
def guest(authority: Authority) -> Papers:
    """The files of a client that is welcome."""
    return authority.issue("sq1.example.org")


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the listener has logged since the last call."""
    caplog.set_level(logging.WARNING, "shoal_server")

    def fresh() -> list[str]:
        ours = [record for record in caplog.records if record.name.startswith("shoal_server.")]
        caplog.clear()
        return [record.getMessage() for record in ours]

    return fresh


# --- who gets in ------------------------------------------------------------------------------------


def test_a_client_with_a_certificate_of_the_authority_gets_in(own: Papers, guest: Papers) -> None:
    with listening(listener_context(tls_of(own))) as port:
        assert refusal(port, tls_of(guest)) == ""


def test_without_authorities_no_certificate_is_demanded(own: Papers) -> None:
    with listening(listener_context(Tls(None, own.certificate, own.key))) as port:
        assert refusal(port, Tls(own.ca)) == ""


def test_a_wrong_virtual_host_is_refused(own: Papers, guest: Papers) -> None:
    with listening(listener_context(tls_of(own))) as port:
        assert "virtual host" in refusal(port, tls_of(guest), vhost="elsewhere")


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        ("none", "no TLS: it shows no certificate"),
        (
            "foreign",
            "no TLS: it shows a certificate that is not trusted: unable to get local issuer certificate",
        ),
        ("expired", "no TLS: it shows a certificate that is not trusted: certificate has expired"),
    ],
)
def test_why_a_client_certificate_was_refused_is_one_line_in_the_log(
    own: Papers,
    authority: Authority,
    stranger: Authority,
    warnings: Callable[[], list[str]],
    shown: str,
    told: str,
) -> None:
    papers = {
        "none": Tls(own.ca),
        "foreign": tls_of(stranger.issue("sq1.example.org")),
        "expired": tls_of(authority.issue("sq1.example.org", expired=True)),
    }
    tls = papers[shown]
    with listening(listener_context(tls_of(own))) as port:
        assert "certificate" in refusal(port, Tls(own.ca, tls.cert_file, tls.key_file))
    (line,) = warnings()
    assert line.endswith(f": cut off: {told}")


def test_a_client_that_does_not_trust_us_is_one_line_in_the_log(
    own: Papers, guest: Papers, stranger: Authority, warnings: Callable[[], list[str]]
) -> None:
    with listening(listener_context(tls_of(own))) as port:
        assert "not trusted" in refusal(port, Tls(stranger.file, guest.certificate, guest.key))
    (line,) = warnings()
    assert line.endswith("no TLS: it does not trust the authority of our certificate")


def test_a_wrong_password_is_told_with_the_user_and_without_the_password(
    own: Papers, guest: Papers, warnings: Callable[[], list[str]]
) -> None:
    with listening(listener_context(tls_of(own))) as port:
        assert "password" in refusal(port, tls_of(guest), password=WRONG_PASSWORD)
    (line,) = warnings()
    assert line.endswith(f"login refused for user '{USER}'")
    assert SECRET not in line


# --- renewal ----------------------------------------------------------------------------------------


def test_replaced_files_count_from_the_next_connection_on_and_the_others_stay(
    own: Papers, guest: Papers, stranger: Authority
) -> None:
    broker = Broker.parse(f"amqps://{USER}:{PASSWORD}@localhost:1/{VHOST}", tls_of(guest))
    with listening(listener_context(tls_of(own))) as port:
        parameters = next(broker.parameters("test"))
        parameters.port = port
        with pika.BlockingConnection(parameters) as early:
            own.become(stranger.issue("localhost"))
            assert "not trusted" in refusal(port, tls_of(guest))
            assert refusal(port, tls_of(stranger.issue("sq1.example.org"))) == ""
            early.channel().close()


def test_an_authority_that_was_replaced_vouches_for_nobody_any_more(
    own: Papers, guest: Papers, stranger: Authority
) -> None:
    with listening(listener_context(tls_of(own))) as port:
        assert refusal(port, tls_of(guest)) == ""
        own.ca.write_bytes(stranger.file.read_bytes())
        assert refusal(port, tls_of(guest)) != ""


def test_while_new_files_cannot_be_used_the_former_certificates_go_on_and_one_line_tells_it(
    own: Papers, guest: Papers, warnings: Callable[[], list[str]]
) -> None:
    with listening(listener_context(tls_of(own))) as port:
        own.key.write_text("half a key\n")
        assert [refusal(port, tls_of(guest)) for _ in range(3)] == ["", "", ""]
    (line,) = warnings()
    assert line.startswith("going on with the former certificates: TLS: cannot use ")
    assert str(own.key) in line


def test_unchanged_files_are_read_once(own: Papers) -> None:
    current = listener_context(tls_of(own))
    assert current() is current()


def test_files_that_cannot_be_used_at_the_start_are_told_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read .*none\.pem: No such file"):
        listener_context(Tls(None, tmp_path / "none.pem"))


# --- who may open it to the world -------------------------------------------------------------------


@pytest.mark.parametrize("login", ["", "squid@"], ids=["nobody named", "no password"])
def test_beyond_loopback_a_listener_without_credentials_is_refused_with_the_setting_named(login: str) -> None:
    done = run("--amqp", f"embedded://{login}0.0.0.0:{free_port()}", "--listen", "127.0.0.1:0")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "would let anyone announce squids" in line
    assert "[amqp] anonymous = yes" in line


@pytest.mark.parametrize(
    ("login", "flags"),
    [("", ["--anonymous", "yes"]), (f"{USER}:{PASSWORD}@", [])],
    ids=["anonymous", "with credentials"],
)
def test_beyond_loopback_a_listener_is_allowed_by_word_or_with_credentials(
    login: str, flags: list[str]
) -> None:
    """The port is taken, so that nothing is opened to the world: who is told so was allowed."""
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        done = run("--amqp", f"embedded://{login}0.0.0.0:{port}", "--listen", "127.0.0.1:0", *flags)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        f"shoal-server: cannot listen for heartbeats on 0.0.0.0:{port}"
    )
    assert SECRET not in done.stderr
