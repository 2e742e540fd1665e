"""One HTTP GET, with or without a proxy."""

from collections.abc import Mapping

import requests


def fetch(
    url: str, proxy: str | None = None, *, headers: Mapping[str, str] | None = None, within: float = 5.0
) -> requests.Response:
    """GET `url`, through `proxy` if given, whatever the environment says about proxies."""
    with requests.Session() as session:
        session.trust_env = False
        session.proxies = {"http": proxy} if proxy else {}
        return session.get(url, headers=dict(headers or {}), timeout=within)
