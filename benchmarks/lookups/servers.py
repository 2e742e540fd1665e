"""What is measured, and what it is measured against: all on one core, one after the other."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from shoal_server.web.processes import CONNECTIONS, THREADS
from testbed.ports import free_port
from testbed.process import wait_until
from testbed.program import environment

SERVER_CORE, CROWD_CORE = 0, 1
QUESTION = "/nearest/5"

_CONSTANT = """
BODY = {body!r}
HEADERS = [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))]
HEADERS += [("X-Shoal-Distance", "km"), ("Cache-Control", "private, no-cache"), ("X-Shoal-State", "ok")]
def app(environ, start_response):
    start_response("200 OK", HEADERS)
    return [BODY]
"""

_NGINX = """
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off; default_type application/json; keepalive_requests 1000000;
  client_body_temp_path {directory}/a; proxy_temp_path {directory}/b; fastcgi_temp_path {directory}/c;
  uwsgi_temp_path {directory}/d; scgi_temp_path {directory}/e;
  server {{ listen 127.0.0.1:{port}; root {directory}/www; }}
}}
"""


@contextmanager
def shoal(store: str, flags: Sequence[object]) -> Iterator[tuple[str, int]]:
    """A web process with one worker: its address, and the process that started it."""
    port = free_port()
    own = ["web", "--listen", f"127.0.0.1:{port}", "--store", store, "--workers", "1"]
    own += ["--trusted-proxies", "127.0.0.0/8", "--log-level", "warning"]
    argv = [sys.executable, "-m", "shoal_server.cli", *own, *map(str, flags)]
    with _running(argv, port) as pid:
        yield f"http://127.0.0.1:{port}{QUESTION}", pid


@contextmanager
def constant(directory: Path, body: bytes) -> Iterator[str]:
    """The same WSGI server, set up alike, with an application that always says the same."""
    (directory / "constant.py").write_text(_CONSTANT.format(body=body))
    port = free_port()
    argv = [str(Path(sys.executable).parent / "granian"), "--interface", "wsgi", "--host", "127.0.0.1"]
    argv += ["--port", str(port), "--workers", "1", "--blocking-threads", str(THREADS), "--no-log"]
    argv += ["--backlog", str(CONNECTIONS), "--backpressure", str(CONNECTIONS), "constant:app"]
    with _running(argv, port, directory):
        yield f"http://127.0.0.1:{port}{QUESTION}"


@contextmanager
def nginx(directory: Path, body: bytes) -> Iterator[str]:
    """nginx with the same bytes in a file."""
    (directory / "www/nearest").mkdir(parents=True, exist_ok=True)
    (directory / "www/nearest/5").write_bytes(body)
    for one in (directory, directory / "www", directory / "www/nearest"):
        one.chmod(0o755)
    port = free_port()
    (directory / "nginx.conf").write_text(_NGINX.format(directory=directory, port=port))
    with _running(["nginx", "-p", str(directory), "-e", "stderr", "-c", str(directory / "nginx.conf")], port):
        yield f"http://127.0.0.1:{port}{QUESTION}"


def read(url: str) -> bytes:
    """The body of an answer."""
    with urlopen(url, timeout=5) as answer:  # noqa: S310 - our own server
        body: bytes = answer.read()
        return body


@contextmanager
def _running(argv: Sequence[str], port: int, directory: Path | None = None) -> Iterator[int]:
    pinned = ["taskset", "-c", str(SERVER_CORE), *argv]
    process = subprocess.Popen(pinned, cwd=directory, env=environment() | _path())
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}{QUESTION}"), 60.0, argv[0])
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def _path() -> dict[str, str]:
    return {"PATH": os.environ["PATH"]}


def _answers(url: str) -> bool:
    try:
        return len(read(url)) > 4
    except (URLError, OSError):
        return False
