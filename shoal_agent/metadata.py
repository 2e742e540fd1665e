"""The cloud's metadata service: our address as the outside sees it, and whether this VM is to be taken away.

EC2 (with the tokens of IMDSv2) and OpenStack share one dialect, Google has its own. Asked directly:
never through a proxy, whatever the environment says.
"""

import http.client
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from shoal_common.deadline import Connection
from shoal_common.errors import Unavailable
from shoal_common.hosts import ipv4

REQUEST_SECONDS = 1.0
_TOKEN_SECONDS = "21600"  # noqa: S105 - how long a token lasts
_MAX_ANSWER = 4096
_EC2 = "/latest/meta-data"
_GOOGLE = "/computeMetadata/v1/instance"
_GOOGLE_HEADERS = {"Metadata-Flavor": "Google"}
# It wants a token and gives none, or it was asked too often.
_NOT_NOW = (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass(frozen=True, slots=True)
class Found:
    """An address as others see this VM, and how that is known."""

    address: str
    source: str


class Metadata:
    """The service at `base` (a URL without a path, usually http://169.254.169.254)."""

    def __init__(self, base: str) -> None:
        parts = urlsplit(base)
        self._host = parts.hostname or ""
        self._port = parts.port or 80
        self._base = base
        self._token: str | None = None

    def public_address(self) -> Found | None:
        """The floating or elastic IPv4 address of this VM, None if it has none.

        Raises Unavailable when no metadata service answers here, or it cannot tell now.
        """
        answer, cloud = self._ec2(f"{_EC2}/public-ipv4"), ""
        if answer is None:
            page = f"{_GOOGLE}/network-interfaces/0/access-configs/0/external-ip"
            answer, cloud = self._google(page), "Google's "
        address = _address(answer)
        return Found(address, f"{cloud}metadata service at {self._base}") if address else None

    def can_be_preempted(self) -> bool:
        """Whether this VM is of the kind that the cloud takes away with short notice. Raises Unavailable."""
        if self._ec2(f"{_EC2}/instance-life-cycle") == "spot":
            return True
        return self._google(f"{_GOOGLE}/scheduling/preemptible") == "TRUE"

    def preemption(self) -> str | None:
        """The notice that this VM will be taken away, None while there is none.

        EC2 tells it two minutes ahead, Google half a minute. Raises Unavailable.
        """
        notice = self._ec2(f"{_EC2}/spot/instance-action")
        if notice is not None and '"action"' in notice:
            return "EC2 takes this spot instance away"
        if self._google(f"{_GOOGLE}/preempted") == "TRUE":
            return "Google takes this preemptible instance away"
        return None

    def _ec2(self, path: str) -> str | None:
        token = self._token or self._new_token()
        status, text = self._ask("GET", path, {"X-aws-ec2-metadata-token": token} if token else {})
        if status == HTTPStatus.UNAUTHORIZED:  # the token has expired
            self._token = None
            token = self._new_token()
            status, text = self._ask("GET", path, {"X-aws-ec2-metadata-token": token} if token else {})
        return self._told(status, text)

    def _new_token(self) -> str | None:
        """A token; None where the service knows none (OpenStack)."""
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": _TOKEN_SECONDS}
        status, text = self._ask("PUT", "/latest/api/token", headers)
        usable = status == HTTPStatus.OK and text.isascii() and text.isprintable()
        self._token = text if usable and text else None
        return self._token

    def _google(self, path: str) -> str | None:
        return self._told(*self._ask("GET", path, _GOOGLE_HEADERS))

    def _told(self, status: int, text: str) -> str | None:
        """What stands at a page; None if there is none. A cloud refuses the pages of another's dialect in
        many ways, so only what says "not now" is no answer.
        """
        if status in _NOT_NOW or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unavailable(f"the metadata service at {self._base} cannot tell now: it answers {status}")
        return text if status == HTTPStatus.OK else None

    def _ask(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
        with closing(Connection(self._host, self._port, REQUEST_SECONDS)) as connection:
            try:
                connection.request(method, path, headers=dict(headers))
                with connection.getresponse() as answer:
                    body = answer.read(_MAX_ANSWER)
                    return answer.status, body.decode("utf-8", errors="replace").strip()
            except (OSError, http.client.HTTPException) as error:
                told = f"no metadata service answers at {self._base}: {error or type(error).__name__}"
                raise Unavailable(told) from None


def _address(answer: str | None) -> str | None:
    """An OpenStack VM without a floating IP has an empty one."""
    try:
        return ipv4(answer or "")
    except ValueError:
        return None
