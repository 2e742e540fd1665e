"""`shoal-server` as the process that operators run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pika
import requests

from shoal_common.amqp import EXCHANGE_TYPE
from testbed.ports import free_port
from testbed.process import wait_until
from testbed.program import Program, environment
from tests.testbed.fetch import fetch

MODULE = "shoal_server.cli"


class ServerProcess(Program):
    """On a free HTTP port; heartbeats are taken by the embedded listener unless `amqp` says otherwise."""

    def __init__(self, directory: Path, *flags: object, amqp: str | None = None) -> None:
        self.port = free_port()
        self.amqp = amqp or f"embedded://127.0.0.1:{free_port()}"
        usual = ("--listen", f"127.0.0.1:{self.port}", "--amqp", self.amqp)
        super().__init__(directory, [MODULE], [*usual, *flags], self._answers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, within: float = 5.0, **headers: str) -> requests.Response:
        """Ask it; `X_Forwarded_For="…"` is a header."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return fetch(self.url + path, headers=named, within=within)

    def names(self, path: str = "/nearest/100") -> set[str]:
        """The host names of an answer."""
        return {entry["hostname"] for entry in (self.get(path).json() or {}).values()}

    def await_names(self, *names: str, path: str = "/nearest/100", within: float = 10.0) -> None:
        """Wait until an answer holds these squids and no other."""
        wait_until(lambda: self.names(path) == set(names), within, f"{names} in {path}")

    def end(self, number: signal.Signals) -> float:
        """Send a signal; returns how many seconds the process took to end."""
        began = time.monotonic()
        os.kill(self.pid, number)
        wait_until(lambda: not self.running, 10, "the end of the process")
        return time.monotonic() - began

    @property
    def exit_code(self) -> int:
        """Of a process that has ended; it is not reaped, which is for the service itself to do."""
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        assert ended is not None
        return ended.si_status

    def _answers(self) -> bool:
        try:
            return self.get("/healthz").ok
        except requests.RequestException:
            return False


def publish(url: str, *bodies: bytes) -> None:
    """Publish as agents do, with confirms."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.exchange_declare("shoal", EXCHANGE_TYPE)
        channel.confirm_delivery()
        for body in bodies:
            channel.basic_publish("shoal", "info", body)


def amqp_url(server: ServerProcess) -> str:
    """Where a publisher finds the embedded listener of a server."""
    return server.amqp.replace("embedded://", "amqp://") + "/%2F"


def run(*flags: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with these variables and no settings file but a named one."""
    return subprocess.run(
        [sys.executable, "-m", MODULE, *map(str, flags)],
        env=environment(HOME="/nonexistent", COLUMNS="100", **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
