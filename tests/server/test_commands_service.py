"""How commands ask a server, and what may come back instead of an answer."""

import argparse
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shoal_common.errors import SettingsError, Unavailable
from shoal_server.commands import watching
from shoal_server.commands.command import BadUsage, Call
from shoal_server.commands.service import Service
from testbed.ports import free_port
from tests.server.process import run

TOKEN = "correct-horse-battery"
INSIDE = "shown to workers of the same site, and with the operator's token."
Reply = Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], bytes]]


class Listener:
    """An HTTP server that is none of ours; it remembers what it was asked."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.asked: list[tuple[str, str | None]] = []


@contextmanager
def listening(
    status: int,
    headers: dict[str, str],
    body: bytes,
    port: int = 0,
    others: Mapping[str, bytes] | None = None,
) -> Iterator[Listener]:
    """It answers all with `body`, but for the paths of `others`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listener.asked.append((self.path, self.headers.get("Authorization")))
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            sent = (others or {}).get(self.path, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        listener = Listener(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield listener
        finally:
            server.shutdown()
            thread.join()


def call(*, server: str | None = None, config: Path | None = None, **environ: str) -> Call:
    return Call(argparse.Namespace(server=server, config=config), environ, 0.0)


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "server.conf"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("[::]:8081", "http://[::1]:8081"),
        ("192.0.2.1:80", "http://192.0.2.1:80"),
        ("shoal.example.org:8080", "http://shoal.example.org:8080"),
    ],
)
def test_unless_named_it_is_the_server_of_the_settings_asked_by_loopback(
    tmp_path: Path, listen: str, url: str
) -> None:
    file = written(tmp_path, f"[http]\nlisten = {listen}\noperator_token = {TOKEN}\n")
    assert Service.of(call(config=file)) == Service(url, TOKEN)


@pytest.mark.parametrize("text", ["http://shoal.example.org", "http://shoal.example.org/nearest/"])
def test_the_variable_names_it_as_it_does_for_clients(text: str) -> None:
    assert Service.of(call(SHOAL_SERVER=text)).url == "http://shoal.example.org"


def test_the_flag_wins_over_the_variable() -> None:
    assert Service.of(call(server="https://one.example", SHOAL_SERVER="http://two.example")).url == (
        "https://one.example"
    )


@pytest.mark.parametrize("text", ["shoal.example.org", "ftp://x", "http://", "http://me:secret@x"])
def test_what_is_no_url_of_a_server_is_bad_usage(text: str) -> None:
    with pytest.raises(BadUsage, match="no server's URL"):
        Service.of(call(server=text))


def test_an_open_port_in_the_settings_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="--server URL"):
        Service.of(call(config=written(tmp_path, "[http]\nlisten = 127.0.0.1:0\n")))


def test_who_names_the_server_needs_no_good_settings_file_of_it(tmp_path: Path) -> None:
    home = tmp_path / ".shoal"
    home.mkdir()
    (home / "shoal_server.conf").write_text("nonsense")
    named = call(server="http://x.example", HOME=str(tmp_path), SHOAL_OPERATOR_TOKEN=TOKEN)
    assert Service.of(named) == Service("http://x.example", TOKEN)
    with pytest.raises(SettingsError):
        Service.of(call(HOME=str(tmp_path)))


def test_the_token_is_not_shown_by_a_service() -> None:
    assert TOKEN not in repr(Service("http://x.example", TOKEN))


@pytest.mark.parametrize(
    ("url", "overheard"),
    [
        ("http://127.0.0.1:1", False),
        ("http://[::1]:1", False),
        ("http://localhost:1", False),
        ("https://shoal.example.org", False),
        ("http://shoal.example.org", True),
        ("http://192.0.2.1", True),
    ],
)
def test_others_can_read_what_goes_unencrypted_to_another_machine(url: str, overheard: bool) -> None:
    assert Service(url, TOKEN).overheard is overheard


def test_a_redirection_is_told_and_not_followed() -> None:
    with listening(200, {}, b"{}") as thief, listening(302, {"Location": thief.url}, b"") as here:
        with pytest.raises(Unavailable, match=thief.url):
            Service(here.url, TOKEN).post("/api/v1/drain", {})
        assert here.asked == [("/api/v1/drain", f"Bearer {TOKEN}")]
        assert thief.asked == []


def test_the_proxies_of_the_environment_are_not_asked() -> None:
    with listening(200, {}, b"{}") as proxy:
        ended = run("squids", "--server", f"http://127.0.0.1:{free_port()}", http_proxy=proxy.url)
        assert ended.returncode == 1
        assert proxy.asked == []


def test_a_server_that_is_away_is_told_in_one_line() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    ended = run("squids", "--server", url)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"shoal-server: no answer from {url}: Connection refused\n"


def test_status_waits_a_little_for_a_server_that_was_just_started(monkeypatch: pytest.MonkeyPatch) -> None:
    port, pauses = free_port(), 0
    body = b'{"state": "ok", "processes": []}'
    with ExitStack() as stack:

        def pause(_: float) -> None:
            nonlocal pauses
            pauses += 1
            if pauses == 3:
                stack.enter_context(listening(200, {"Content-Type": "application/json"}, body, port))

        monkeypatch.setattr(time, "sleep", pause)
        monkeypatch.setattr(watching, "START_SECONDS", 60.0)
        monkeypatch.setattr(watching, "_headline", lambda *_: [])
        assert watching.COMMANDS["status"].run(call(server=f"http://127.0.0.1:{port}")).code == 0
    assert pauses == 3


def test_a_server_that_does_not_start_is_not_waited_for_for_ever() -> None:
    with pytest.raises(Unavailable, match="Connection refused"):
        Service(f"http://127.0.0.1:{free_port()}", "").get("/api/v1/status", patience=0.3)


@pytest.mark.parametrize(
    ("words", "total", "said"),
    [
        ([], 0, "There are no squids yet."),
        (["--sort", "seen", "--descending"], 0, "There are no squids yet."),
        (["--text", "nobody"], 3, "There is no such squid."),
        ([], 3, f"None is shown to you: all 3 squids are {INSIDE}"),
        ([], 1, f"None is shown to you: the only squid is {INSIDE}"),
    ],
)
def test_an_empty_list_tells_whether_there_is_no_squid_none_like_that_or_none_for_who_asks(
    words: list[str], total: int, said: str
) -> None:
    page = b'{"state": "ok", "total": 0, "squids": [], "next": null}'
    status = json.dumps({"squids": {"total": total}}).encode()
    json_ = {"Content-Type": "application/json"}
    with listening(200, json_, page, others={"/api/v1/status": status}) as empty:
        assert run("squids", *words, "--server", empty.url).stdout == f"{said}\n"


def test_another_kind_of_server_is_told_as_such() -> None:
    with listening(200, {"Content-Type": "text/html"}, b"<html>") as other:
        ended = run("squids", "--server", other.url)
    assert ended.returncode == 1
    assert "is this a Shoal server" in ended.stderr


def test_half_an_answer_is_told_in_one_line() -> None:
    with listening(200, {"Content-Type": "application/json"}, b'{"state": ') as broken:
        ended = run("status", "--server", broken.url)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1


def test_a_refusal_is_told_in_the_words_of_the_server_made_harmless() -> None:
    told = json.dumps({"detail": "no\x1b[2Jsuch squid"}).encode()
    with listening(404, {"Content-Type": "application/problem+json"}, told) as server:
        ended = run(
            "drain", "192.0.2.1:3128", "--why", "x", "--server", server.url, SHOAL_OPERATOR_TOKEN=TOKEN
        )
    assert (ended.returncode, ended.stderr) == (1, "shoal-server: no\\x1b[2Jsuch squid\n")


def test_a_hostile_list_is_inert_on_a_terminal() -> None:
    hostile = "\x1b[2J\u202e\x07"
    squid = dict.fromkeys(("id", "hostname", "state"), hostile) | {
        "place": {"site": hostile, "city": None, "country_code": None},
        "verification": {"reach": "failed", "reason": hostile},
        "draining": False,
        "utilisation": 0.5,
        "hit_ratio": None,
        "seen": 0.0,
    }
    page = {"state": "ok", "total": 1, "squids": [squid], "next": None}
    with listening(200, {"Content-Type": "application/json"}, json.dumps(page).encode()) as server:
        for form in ([], ["--json"]):
            ended = run("squids", *form, "--server", server.url)
            assert ended.returncode == 0
            assert ended.stdout.replace("\n", "").isprintable()


def test_of_very_many_that_will_not_do_those_that_are_named_are_told_to_be_some() -> None:
    page = {
        "requester": {"address": "192.0.2.9", "place": None},
        "service": "both",
        "state": "ok",
        "groups": [],
        "excluded": [{"id": "192.0.2.1:3128", "hostname": "sq1", "reason": "it has not been checked yet"}],
        "excluded_total": 5012,
        "further": 0,
    }
    with listening(200, {"Content-Type": "application/json"}, json.dumps(page).encode()) as server:
        text = run("explain", "192.0.2.9", "--server", server.url).stdout
    assert "and not of these, the nearest of 5012 that will not do:" in text


@pytest.mark.parametrize(
    ("skew", "words"), [(-172_805.0, "2 d ahead"), (10_800.0, "3 h behind"), (0.3, "0 s behind")]
)
def test_a_clock_that_is_ahead_is_not_told_in_negative_seconds(skew: float, words: str) -> None:
    squid: dict[str, object] = {
        "id": "192.0.2.1:3128",
        "hostname": "sq1",
        "place": None,
        "owner": {},
        "state": "alive",
        "draining": False,
        "seen": 0.0,
        "created": 0.0,
        "verification": {"reach": "global", "reason": "served the object", "checked": None},
        "utilisation": 0.5,
        "load": 1.0,
        "max_load": 2.0,
        "clock_skew": skew,
        "advertised": {},
        "events": [],
    }
    with listening(200, {"Content-Type": "application/json"}, json.dumps(squid).encode()) as server:
        text = run("show", "192.0.2.1:3128", "--server", server.url).stdout
    (clock,) = [line for line in text.splitlines() if line.startswith("clock")]
    assert clock.split(maxsplit=1)[1] == words
