"""The program that `PythonCache` runs: the `proxy.py` library, with fake names and a Via header."""

import argparse
import ctypes
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from proxy import Proxy
from proxy.http.parser import HttpParser
from proxy.http.proxy import HttpProxyBasePlugin

_PR_SET_PDEATHSIG = 1  # prctl(2)


def _via_plugin(via: str, hosts: Mapping[str, str]) -> type:
    header = f"Via: 1.1 {via} (proxy.py)\r\n".encode()

    class ViaPlugin(HttpProxyBasePlugin):
        """Resolves the fake names and marks each answer; one request per connection."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._head: bytes | None = b""

        def resolve_dns(self, host: str, port: int) -> tuple[str | None, Any]:
            return hosts.get(host), None

        def handle_client_request(self, request: HttpParser) -> HttpParser:
            # A second answer on the same connection could not be told from the body of the first.
            request.add_header(b"Connection", b"close")
            return request

        def handle_upstream_chunk(self, chunk: memoryview) -> memoryview | None:
            if self._head is None:
                return chunk
            self._head += bytes(chunk)
            status, end, rest = self._head.partition(b"\r\n")
            if not end:
                return None
            self._head = None
            return memoryview(status + end + header + rest)

    return ViaPlugin


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Run the proxy until SIGTERM."""
    parser = argparse.ArgumentParser(prog="testbed.viaproxy")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--hosts", type=json.loads, default={})
    parser.add_argument("listen", nargs="+")
    options = parser.parse_args()
    # The library hands its work to child processes; the plugin is made here and must reach them.
    multiprocessing.set_start_method("fork", force=True)
    os.register_at_fork(after_in_child=_die_with_parent)
    arguments = [
        *("--port", str(options.port), "--hostname", options.listen[0], "--num-acceptors", "1"),
        *("--data-dir", options.data, "--log-level", "WARNING"),
    ]
    if options.listen[1:]:
        arguments += ["--hostnames", *options.listen[1:]]
    with Proxy(arguments, plugins=[_via_plugin(options.name, options.hosts)]):
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
