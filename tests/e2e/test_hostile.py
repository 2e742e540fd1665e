"""Hostile fields through the whole chain: whatever gets in is inert wherever it comes out."""

import html.parser
import json
import re
from collections.abc import Iterator

import pacparser
import pytest
import requests

from testbed.process import wait_until
from tests.fakes import beat
from tests.server.process import ServerProcess, amqp_url, publish, run

SCRIPT = "<script>alert(1)</script>"
TEXTS = [
    SCRIPT,
    '";}alert(1);//',
    "$(reboot)",
    "`id`",
    "a\nb",
    "\x1b[2J\x1b]0;owned\x07",
    "\u2028\u202e",
    "../../etc/passwd",
    "{{7*7}}",
    "x\r\nSet-Cookie: a=b",
    "%n%s",
]
FIELDS = ["uuid", "hostname", "public_ip", "private_ip", "ipv6", "agent", "cache_type", "upstream", "state"]
TOKEN = "correct-horse-battery"
PLACE = f"Ville '{SCRIPT}'"
ID = "192.0.2.1:3128"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("hostile")
    table = directory / "locations.csv"
    rows = f'192.0.2.0/24,"{PLACE}",48.5,-123.3,"{PLACE}",CA\n127.0.0.0/8,here,48.5,-123.3,,\n'
    table.write_text("network,site,latitude,longitude,city,country_code\n" + rows)
    flags = ["--verify", "no", "--locations", table, "--operator-token", TOKEN]
    with ServerProcess(directory / "server", *flags) as running:
        publish(amqp_url(running), beat().encode(), *hostile())
        wait_until(lambda: "192.0.2.1" in running.get("/nearest").text, 10.0, "the good squid")
        why = {"squid": ID, "who": "mallory", "why": SCRIPT}
        answer = requests.post(
            f"{running.url}/api/v1/drain", json=why, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=5
        )
        assert answer.status_code == 204
        yield running


def hostile() -> list[bytes]:
    """A heartbeat with each text in each field, and as the name of a field."""
    good = json.loads(beat(uuid="other", public_ip="192.0.2.2").encode())
    return [json.dumps({**good, field: text}).encode() for text in TEXTS for field in [*FIELDS, text]]


class _Tags(html.parser.HTMLParser):
    """Collects what a browser would run."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.handlers: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_script = tag == "script"
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name == "style"]

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False


@pytest.mark.parametrize("path", ["/", f"/squid/{ID}", "/explain?address=192.0.2.9", f"/?q={SCRIPT}"])
def test_pages_hold_no_script_of_a_stranger(server: ServerProcess, path: str) -> None:
    page = server.get(path, Authorization=f"Bearer {TOKEN}")
    tags = _Tags()
    tags.feed(page.text)
    assert (tags.scripts, tags.handlers) == ([], [])
    assert SCRIPT not in page.text
    assert "unsafe" not in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path",
    [
        *("/nearest", "/all", "/wlcg-squids.json", "/api/v1/squids", f"/api/v1/squids/{ID}"),
        *("/api/v1/events", "/api/v1/nearest?explain=yes", f"/api/v1/squids?text={SCRIPT}"),
    ],
)
def test_json_is_json_and_nothing_else_to_a_browser(server: ServerProcess, path: str) -> None:
    answer = server.get(path, Authorization=f"Bearer {TOKEN}")
    answer.json()
    assert answer.headers["Content-Type"].startswith(("application/json", "application/problem+json"))
    assert "\x1b" not in answer.text


@pytest.mark.parametrize("path", ["/wpad.dat", "/proxy.pac"])
def test_a_pac_file_names_proxies_alone(server: ServerProcess, path: str) -> None:
    text = server.get(path).text
    pacparser.init()
    try:
        pacparser.parse_pac_string(text)
        found = pacparser.find_proxy("http://a.example/", "a.example")
    finally:
        pacparser.cleanup()
    assert re.fullmatch(r"((PROXY|DIRECT)[ \w.:/\[\]-]*;? ?)+", found)
    assert "alert" not in text


def test_metrics_hold_one_sample_a_line(server: ServerProcess) -> None:
    for line in server.get("/metrics").text.splitlines():
        assert line.startswith("#") or re.fullmatch(r'\w+(\{[\w",=+.\- ]*\})? [\w.+-]+', line), line


def test_the_log_holds_lines_that_are_its_own(server: ServerProcess) -> None:
    lines = server.log.read_text(encoding="utf-8", errors="strict").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line) for line in lines)
    assert all(line.isprintable() for line in lines)
    assert any("heartbeat refused" in line for line in lines)


@pytest.mark.parametrize("command", [["squids"], ["show", ID], ["explain", "192.0.2.9"], ["status"]])
def test_a_terminal_gets_characters_that_it_shows(server: ServerProcess, command: list[str]) -> None:
    ended = run(*command, "--server", server.url, SHOAL_OPERATOR_TOKEN=TOKEN)
    assert ended.returncode == 0, ended.stderr
    assert all(line.isprintable() for line in ended.stdout.splitlines())


def test_nobody_but_the_good_squid_is_listed(server: ServerProcess) -> None:
    assert {entry["hostname"] for entry in server.get("/all").json().values()} == {"sq1.example.org"}
