"""The AMQP side that agent and server share: the exchange, and how a broker's URL becomes a connection.

Deployed agents publish to a topic exchange that is neither durable nor auto-deleted; declaring it in
any other way is refused by the broker (406) while an older server lives.
"""

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pika

from shoal_common.errors import SettingsError
from shoal_common.hosts import HostPort, redacted
from shoal_common.settings import Values
from shoal_common.stamp import stamp
from shoal_common.version import VERSION

EXCHANGE_TYPE = "topic"
ROUTING_KEY = "info"
CONNECT_SECONDS = 10.0
BLOCKED_SECONDS = 30.0
"""A broker short of memory blocks publishers for ever unless they set a limit."""
HEARTBEAT_SECONDS = 30
_UNREADABLE = (
    "[amqp] url: cannot be read; in the user, the password and the virtual host write / as %2F, ? as %3F, "
    "# as %23, [ as %5B, ] as %5D, @ as %40"
)


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of PEM certificates: whom to trust (None: the system's authorities) and who we are."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def unused(self, *, secure: bool) -> str | None:
        """What is wrong with files that would be without effect, if any would be."""
        if not secure and (self.ca_file or self.cert_file or self.key_file):
            return "[amqp] ca_file, cert_file and key_file have an effect with TLS alone: amqps:// or embedded+tls://"
        if self.key_file and not self.cert_file:
            return "[amqp] key_file: it has an effect beside a cert_file alone"
        return None


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker, or a cluster of them to be tried in turn."""

    hosts: tuple[HostPort, ...]
    user: str
    password: str = field(repr=False)
    vhost: str
    secure: bool
    tls: Tls

    @classmethod
    def parse(cls, url: str, tls: Tls) -> "Broker":
        """Read `amqp[s]://user:password@host:port,host:port/vhost`.

        Ports default to 5672 (5671 for amqps), the user to guest, an absent path to the vhost `/`.
        Raises SettingsError, which shows no password even of a URL that cannot be read.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            raise SettingsError([_UNREADABLE]) from None
        secure = parts.scheme == "amqps"
        if problem := tls.unused(secure=secure):
            raise SettingsError([problem])
        credentials, _, places = parts.netloc.rpartition("@")
        if "@" in url.removeprefix(f"{parts.scheme}://{parts.netloc}"):
            raise SettingsError([_UNREADABLE])
        try:
            hosts = tuple(HostPort.parse(place, 5671 if secure else 5672) for place in places.split(","))
        except ValueError as error:
            raise SettingsError([f"[amqp] url: {redacted(url)}: {error}"]) from None
        user, _, password = credentials.partition(":")
        vhost = unquote(parts.path.removeprefix("/")) or "/"
        return cls(hosts, unquote(user) or "guest", unquote(password) or "guest", vhost, secure, tls)

    def parameters(self, name: str) -> Iterator[pika.ConnectionParameters]:
        """What pika needs for each host in turn; `name` is shown in the broker's list of connections.

        Raises SettingsError when a certificate file cannot be used.
        """
        context = ssl_context(self.tls) if self.secure else None
        for place in self.hosts:
            yield pika.ConnectionParameters(
                host=place.host,
                port=place.port,
                virtual_host=self.vhost,
                credentials=pika.PlainCredentials(self.user, self.password),
                heartbeat=HEARTBEAT_SECONDS,
                blocked_connection_timeout=BLOCKED_SECONDS,
                socket_timeout=CONNECT_SECONDS,
                stack_timeout=CONNECT_SECONDS,
                connection_attempts=1,
                ssl_options=pika.SSLOptions(context, place.host) if context else None,
                client_properties={"connection_name": name, "product": "shoal", "version": VERSION},
            )


def ssl_context(tls: Tls) -> ssl.SSLContext:
    """For connecting: verifies the broker. Raises SettingsError naming the files that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file:
            _show(context, tls)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(tls, error) from None
    return context


def listener_context(tls: Tls) -> Callable[[], ssl.SSLContext]:
    """For listening: gives the context for the next connection, made anew when a file was replaced.

    It shows our certificate, and demands one of each peer if authorities are named. Raises SettingsError
    naming the files that cannot be used, now and whenever it is asked for a context.
    """
    stamps, context = _stamps(tls), _listening(tls)

    def current() -> ssl.SSLContext:
        nonlocal stamps, context
        seen = _stamps(tls)
        if seen != stamps:
            context = _listening(tls)
            stamps = seen
        return context

    return current


def _listening(tls: Tls) -> ssl.SSLContext:
    if tls.cert_file is None:
        raise SettingsError(["[amqp] cert_file: a listener with TLS needs a certificate"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        _show(context, tls)
        if tls.ca_file:
            context.load_verify_locations(tls.ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise _unusable(tls, error) from None
    return context


def _show(context: ssl.SSLContext, tls: Tls) -> None:
    """Load our certificate; without a password of our own OpenSSL would ask for one on the terminal."""

    def no_password() -> str:
        raise OSError("the private key is encrypted, and nobody is there to type its password")

    if tls.cert_file:
        context.load_cert_chain(tls.cert_file, tls.key_file, no_password)


def _stamps(tls: Tls) -> tuple[tuple[int, ...] | None, ...]:
    return tuple(stamp(file) for file in (tls.ca_file, tls.cert_file, tls.key_file) if file)


def _unusable(tls: Tls, error: Exception) -> SettingsError:
    files = [file for file in (tls.ca_file, tls.cert_file, tls.key_file) if file]
    for file in files:
        try:
            file.open("rb").close()
        except OSError as missing:  # of which OpenSSL does not tell the name
            return SettingsError([f"TLS: cannot read {file}: {missing.strerror}"])
    return SettingsError([f"TLS: cannot use {', '.join(map(str, files))}: {error}"])


_OLD_BROKER_KEYS = ("amqp_server_url", "amqp_port", "use_credentials", "amqp_username", "amqp_password")


def compose_broker_url(values: Values) -> tuple[Values, list[str]]:
    """Join the `[rabbitmq]` keys of files before 2.0 into `[amqp] url`; a url that is there already wins.

    Those programs used the vhost `/` and no TLS whatever the file said, and took the credentials
    only with `use_credentials`.
    """
    old = {key: values[f"rabbitmq.{key}"] for key in _OLD_BROKER_KEYS if f"rabbitmq.{key}" in values}
    rest = {key: text for key, text in values.items() if key not in {f"rabbitmq.{name}" for name in old}}
    if not old:
        return rest, []
    login = ""
    if old.get("use_credentials", "no").lower() in ("yes", "true", "on", "1"):
        login = f"{_quoted(old.get('amqp_username', 'guest'))}:{_quoted(old.get('amqp_password', 'guest'))}@"
    host = old.get("amqp_server_url", "localhost").removeprefix("amqp://").rstrip("/")
    port = "" if ":" in host else f":{old.get('amqp_port', '5672')}"
    rest.setdefault("amqp.url", f"amqp://{login}{host}{port}/")
    keys = ", ".join(f"[rabbitmq] {key}" for key in old)
    return rest, [f"{keys}: write [amqp] url = amqp://user:password@host:port/ instead"]


def _quoted(text: str) -> str:
    return quote(text, safe="")
