"""The running server as commands see it: its API, asked over HTTP or HTTPS.

No redirection is followed and no proxy of the environment is used: the operator's token must not
reach anybody else.
"""

import argparse
import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from shoal_common.errors import SettingsError, Unavailable
from shoal_common.hosts import HostPort, is_loopback
from shoal_common.settings import load
from shoal_server.commands.command import BadUsage, Call
from shoal_server.commands.plain import safe
from shoal_server.settings import ServerSettings

VARIABLE = "SHOAL_SERVER"
ANSWER_SECONDS = 10.0
PAUSE_SECONDS = 0.2
MOST_BYTES = 64 << 20
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def arguments(parser: argparse.ArgumentParser) -> None:
    """The flag that names the server to ask."""
    parser.add_argument(
        "--server",
        metavar="URL",
        help=f"the running server (default: {VARIABLE}, or where [http] listen of the settings says)",
    )


class NotThere(Unavailable):
    """The server knows nothing of that name."""


@dataclass(frozen=True, slots=True)
class Service:
    """A server at `url` (http or https); `token` is the operator's, or empty."""

    url: str
    token: str = field(repr=False)

    @classmethod
    def of(cls, call: Call) -> "Service":
        """The server that the operator means; raises SettingsError or BadUsage."""
        named = call.args.server or call.environ.get(VARIABLE, "")
        settings = _settings(call, named=bool(named))
        url = named or _own(settings.listen)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise BadUsage(f"{safe(url)!r} is no server's URL: http://HOST:PORT or https://HOST")
        # The clients' setting of the same name may say http://HOST/nearest.
        return cls(url.rstrip("/").removesuffix("/nearest"), settings.operator_token)

    @property
    def overheard(self) -> bool:
        """Whether others on the way could read the token."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and not is_loopback(parts.hostname or "")

    def get(self, path: str, *, patience: float = 0.0, **query: str | int | None) -> Any:
        """The JSON answer; raises Unavailable (NotThere) with the server's own words when it refuses.

        Where nothing listens it is tried again for so many seconds: the server may have been just started.
        The token comes along, for an operator may see everything, but not where it could be overheard.
        """
        given = {name: value for name, value in query.items() if value is not None}
        token = "" if self.overheard else self.token
        return self._ask("GET", path + (f"?{urlencode(given)}" if given else ""), token, patience=patience)

    def post(self, path: str, said: Mapping[str, str]) -> Any:
        """Change something; raises BadUsage without a token, Unavailable when the server refuses."""
        if not self.token:
            raise BadUsage("the operator's token is needed: SHOAL_OPERATOR_TOKEN, or [http] operator_token")
        return self._ask("POST", path, self.token, json.dumps(said).encode())

    def _ask(
        self, method: str, path: str, token: str, body: bytes | None = None, *, patience: float = 0.0
    ) -> Any:
        parts, until = urlsplit(self.url), time.monotonic() + patience
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            connection = _connected(parts, until)
            try:
                connection.request(method, parts.path + path, body, headers)
                answer = connection.getresponse()
                return _understood(answer, answer.read(MOST_BYTES))
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(f"no answer from {self.url}: {safe(_reason(error))}") from None


def _settings(call: Call, *, named: bool) -> ServerSettings:
    """Who names the server need not have its file, nor a right to read it."""
    try:
        return call.settings()
    except SettingsError:
        if not named or call.args.config:
            raise
        return load(ServerSettings, flags={}, environ=call.environ, path=None, usual=[]).settings


def _own(listen: HostPort) -> str:
    if not listen.port:
        raise BadUsage("[http] listen leaves the port open: name the running server with --server URL")
    return f"http://{HostPort(_EVERYWHERE.get(listen.host, listen.host), listen.port)}"


def _connected(parts: SplitResult, until: float) -> http.client.HTTPConnection:
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
    while True:
        try:
            connection.connect()
        except ConnectionRefusedError:
            if time.monotonic() >= until:
                raise
            time.sleep(PAUSE_SECONDS)
        else:
            return connection


def _understood(answer: http.client.HTTPResponse, body: bytes) -> Any:
    if answer.status == HTTPStatus.NO_CONTENT:
        return None
    data = json.loads(body) if "json" in answer.headers.get("Content-Type", "") else None
    if answer.status == HTTPStatus.OK and data is not None:
        return data
    told = data.get("detail") if isinstance(data, dict) else None
    kind = NotThere if told and answer.status == HTTPStatus.NOT_FOUND else Unavailable
    raise kind(safe(told or _unexpected(answer)))


def _unexpected(answer: http.client.HTTPResponse) -> str:
    if target := answer.headers.get("Location"):
        return f"the server sends us to {target}: name that one, if you trust it"
    return f"the server says {answer.status} {answer.reason}: is this a Shoal server of version 2?"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
