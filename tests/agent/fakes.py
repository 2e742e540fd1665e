"""A metadata service and a STUN server on loopback, with the manners of the real ones."""

import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

TOKEN = "a-token-of-imds-v2=="


class Clouds:
    """`pages` are what it serves to whom asks as he should; `tokens` makes it an EC2 that demands them.

    `refusals` are the statuses with which it answers whatever begins with a path.
    """

    def __init__(self, *, tokens: bool = False) -> None:
        self.pages: dict[str, str] = {}
        self.refusals: dict[str, int] = {}
        self.token = TOKEN if tokens else None
        self.asked: list[str] = []
        clouds = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                clouds.asked.append(self.path)
                google = self.path.startswith("/computeMetadata")
                if google and self.headers["Metadata-Flavor"] != "Google":
                    self._answer(403, "")
                elif not google and clouds.token and self.headers["X-aws-ec2-metadata-token"] != clouds.token:
                    self._answer(401, "")
                elif self.path in clouds.pages:
                    self._answer(200, clouds.pages[self.path])
                else:
                    self._answer(404, "<html>404</html>")

            def do_PUT(self) -> None:
                clouds.asked.append(f"PUT {self.path}")
                wanted = (
                    self.path == "/latest/api/token"
                    and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
                )
                self._answer(200, clouds.token) if clouds.token and wanted else self._answer(405, "")

            def _answer(self, status: int, text: str) -> None:
                self.send_response(clouds.refusal(self.path) or status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def refusal(self, path: str) -> int | None:
        return next((status for start, status in self.refusals.items() if path.startswith(start)), None)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class StunServer:
    """Answers each request as if it came from `address` (with `echo`: from where it came).

    The first `deaf` ones it does not hear.
    """

    def __init__(
        self,
        address: str = "206.12.48.10",
        *,
        host: str = "127.0.0.1",
        deaf: int = 0,
        old: bool = False,
        echo: bool = False,
    ) -> None:
        self._address = address
        self._deaf = deaf
        self._old = old
        self._echo = echo
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self._socket.settimeout(0.05)
        self.port = self._socket.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def answer(self, request: bytes) -> bytes:
        number = int.from_bytes(socket.inet_aton(self._address), "big")
        kind, mask = (0x0001, 0) if self._old else (0x0020, 0x2112A442)
        attribute = struct.pack("!HHBBHI", kind, 8, 0, 1, 40_000 ^ (mask >> 16), number ^ mask)
        software = struct.pack("!HH", 0x8022, 3) + b"abc\0"
        body = software + attribute
        return struct.pack("!HH", 0x0101, len(body)) + request[4:20] + body

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                request, peer = self._socket.recvfrom(1024)
            except TimeoutError:
                continue
            if self._deaf > 0:
                self._deaf -= 1
                continue
            if self._echo:
                self._address = peer[0]
            self._socket.sendto(b"noise", peer)
            self._socket.sendto(self.answer(request), peer)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()
