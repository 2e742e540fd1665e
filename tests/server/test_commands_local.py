"""The commands that need no server: locate, geoip, check-config."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from testbed.program import environment
from tests.server.process import MODULE, run

TABLE = "network,site,latitude,longitude,city,country_code\n192.0.2.0/24,uvic,48.4,-123.3,Victoria,CA\n"
GENEVA = {"city": {"names": {"en": "Geneva"}}, "location": {"latitude": 46.25, "longitude": 6.125}}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "locations.csv"
    file.write_text(TABLE)
    return file


@pytest.fixture
def database(tmp_path: Path) -> Path:
    writer = MMDBWriter(ip_version=4, database_type="GeoLite2-City", float_type="f64")
    writer.insert_network(IPSet(["198.51.100.0/24"]), GENEVA)
    writer.to_db_file(str(tmp_path / "city.mmdb"))
    return tmp_path / "city.mmdb"


@pytest.fixture
def mirror(tmp_path: Path, database: Path) -> Iterator[str]:
    """The URL of a place where a database can be had."""
    place = tmp_path / "mirror"
    place.mkdir()
    database.rename(place / "city-lite-2026-11.mmdb")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(place))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/city-lite-2026-11.mmdb"
        server.shutdown()
        thread.join()


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "server.conf"
    file.write_text(text)
    return file


# --- locate -----------------------------------------------------------------------------------------


def test_locate_tells_a_place_by_the_table(table: Path) -> None:
    ended = run("locate", "192.0.2.7", "--locations", table)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in ended.stdout.splitlines())
    assert (lines["site"], lines["city"]) == ("uvic", "Victoria")
    assert "location table" in ended.stdout


def test_locate_tells_a_place_by_the_database(table: Path, database: Path) -> None:
    ended = run("locate", "198.51.100.7", "--locations", table, "--geoip", database, "--json")
    found = json.loads(ended.stdout)
    assert (found["source"], found["place"]["city"]) == ("GeoIP database", "Geneva")


def test_locate_says_when_nobody_knows(table: Path) -> None:
    ended = run("locate", "203.0.113.7", "--locations", table)
    assert ended.returncode == 0
    assert "nobody knows" in ended.stdout


def test_locate_takes_an_address_alone() -> None:
    ended = run("locate", "squid.example.org")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "shoal-server: 'squid.example.org' is no IPv4 or IPv6 address\n"


# --- geoip ------------------------------------------------------------------------------------------


def test_geoip_status_tells_kind_and_age(database: Path) -> None:
    ended = run("geoip", "status", "--geoip", database)
    assert ended.returncode == 0
    line = ended.stdout.splitlines()[1]
    assert line.split()[:2] == [str(database), "GeoLite2-City"]
    assert line.endswith("0 d  ok")


def test_geoip_status_tells_what_is_wrong_with_a_file(tmp_path: Path, database: Path) -> None:
    ended = run("geoip", "status", "--geoip", tmp_path / "none.mmdb", "--geoip", database)
    assert ended.returncode == 1
    assert "No such file" in ended.stdout


def test_geoip_status_says_how_to_get_one() -> None:
    assert "shoal-server geoip fetch" in run("geoip", "status").stdout


def test_geoip_fetch_puts_a_database_in_place_without_a_date_in_its_name(mirror: str, tmp_path: Path) -> None:
    to = tmp_path / "GeoIP"
    ended = run("geoip", "fetch", "--url", mirror, "--to", to)
    assert ended.returncode == 0
    assert ended.stdout == f"fetched {to}/city-lite.mmdb (GeoLite2-City)\n"
    unused = f"shoal-server: {to}/city-lite.mmdb is not among [geo] databases: the server does not use it\n"
    assert unused in ended.stderr
    ended = run("geoip", "fetch", "--url", mirror, "--geoip", to / "city-lite.mmdb", "--json")
    assert ended.returncode == 0
    assert unused not in ended.stderr
    assert json.loads(ended.stdout)[0]["path"] == f"{to}/city-lite.mmdb"


def test_geoip_fetch_tells_what_it_could_not_get(mirror: str, tmp_path: Path) -> None:
    ended = run("geoip", "fetch", "--url", f"{mirror}.none", "--to", tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "404" in ended.stderr
    ended = run("geoip", "fetch", "--url", mirror, "--to", tmp_path / "no" / "such")
    assert ended.returncode == 2
    assert ended.stderr == f"shoal-server: {tmp_path}/no/such: No such file or directory\n"


def test_the_progress_of_a_download_is_shown_on_a_terminal_alone(mirror: str, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        ended = subprocess.run(
            [
                sys.executable,
                "-m",
                MODULE,
                "geoip",
                "fetch",
                "--url",
                mirror,
                "--to",
                str(tmp_path),
                "--json",
            ],
            env=environment(HOME="/nonexistent"),
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=True,
            timeout=20,
        )
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # so a terminal tells that the other side has gone
            while piece := terminal.read(4096):
                shown += piece
    assert b"[##############################]" in shown
    assert b"100%" in shown
    assert b"#" not in ended.stdout
    assert json.loads(ended.stdout)


# --- check-config -----------------------------------------------------------------------------------


def test_a_good_configuration_has_no_mistakes(tmp_path: Path, table: Path, database: Path) -> None:
    file = write(tmp_path, f"[geo]\nlocations = {table}\ndatabases = {database}\n")
    ended = run("check-config", "--config", file)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{file}: no mistakes\n", "")


def test_every_mistake_is_told_with_file_section_and_key(tmp_path: Path) -> None:
    file = write(tmp_path, "[http]\nlisten = here\ncolour = red\n[nonsense]\nx = 1\n")
    ended = run("check-config", "--config", file)
    assert ended.returncode == 2
    for words in ("[http] listen: 'here'", "[http] colour is unknown", "[nonsense] x is unknown"):
        assert f"mistake: {file}: {words}" in ended.stdout
    assert ended.stdout.endswith(f"{file}: 3 mistakes\n")


def test_what_can_be_read_is_checked_although_there_are_other_mistakes(tmp_path: Path) -> None:
    file = write(tmp_path, "[http]\nlisten = here\n[geo]\nlocations = /none.csv\n[amqp]\nurl = nowhere://\n")
    ended = run("check-config", "--config", file)
    assert ended.returncode == 2
    assert "[http] listen: 'here'" in ended.stdout
    assert "[geo] locations: /none.csv: No such file" in ended.stdout
    assert "[amqp] url" in ended.stdout
    assert ended.stdout.endswith(f"{file}: 3 mistakes\n")


def test_nothing_follows_from_what_could_not_be_read(tmp_path: Path) -> None:
    file = write(tmp_path, "[store]\nurl = here\n")
    ended = run("check-config", "intake", "--config", file)
    assert ended.stdout.endswith(f"{file}: 1 mistake\n"), "the default, memory, is no mistake of the operator"
    file.write_text("url = redis://here\n")
    ended = run("check-config", "intake", "--config", file, "--listen", "here")
    assert "a [section] must come first" in ended.stdout
    assert "--listen: 'here'" in ended.stdout
    assert ended.stdout.endswith(f"{file}: 2 mistakes\n")


@pytest.mark.parametrize(
    "servers",
    [
        "rediss://redis:6379/0",
        "rediss+sentinel://redis:26379/shoal",
        "rediss+cluster://redis:6379",
    ],
)
def test_certificates_that_the_url_of_a_redis_names_are_opened(tmp_path: Path, servers: str) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("shoal.example.org")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    files = {"ssl_ca_certs": "ca.pem", "ssl_certfile": "cert.pem", "ssl_keyfile": "key.pem"}
    url = f"{servers}?{'&'.join(f'{name}={tmp_path}/{file}' for name, file in files.items())}"
    assert run("check-config", "--store", url).returncode == 0
    for file in files.values():
        good = (tmp_path / file).read_bytes()
        (tmp_path / file).write_text("nothing of the kind")
        ended = run("check-config", "--store", url)
        assert ended.returncode == 2
        assert "mistake: --store: [store] url: cannot use " in ended.stdout
        (tmp_path / file).unlink()
        ended = run("check-config", "--store", url)
        assert f"mistake: --store: [store] url: cannot read {tmp_path}/{file}: No such file" in ended.stdout
        (tmp_path / file).write_bytes(good)


def test_the_files_that_the_settings_name_are_opened(tmp_path: Path, table: Path) -> None:
    table.write_text(TABLE + "198.51.100.0/24,nowhere,91,0\n")
    (tmp_path / "broken.mmdb").write_bytes(b"half a download")
    file = write(tmp_path, f"[geo]\nlocations = {table}\ndatabases = {tmp_path}/broken.mmdb /none.mmdb\n")
    ended = run("check-config", "--config", file)
    assert ended.returncode == 2
    assert f"{file}: [geo] locations: {table}: line 3: latitude" in ended.stdout
    assert f"{file}: [geo] databases: {tmp_path}/broken.mmdb: " in ended.stdout
    assert f"{file}: [geo] databases: /none.mmdb: No such file" in ended.stdout


def test_certificates_are_opened(tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("shoal.example.org")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    listener = "[amqp]\nurl = embedded+tls://shoal:secret@127.0.0.1:5671\n"
    good = write(tmp_path, f"{listener}cert_file = {tmp_path}/cert.pem\nkey_file = {tmp_path}/key.pem\n")
    assert run("check-config", "--config", good).returncode == 0
    (tmp_path / "key.pem").unlink()
    ended = run("check-config", "--config", good)
    assert ended.returncode == 2
    assert f"[amqp] url: TLS: cannot read {tmp_path}/key.pem" in ended.stdout


def test_the_certificates_for_a_broker_are_opened_and_the_broker_is_not_asked(tmp_path: Path) -> None:
    file = write(tmp_path, f"[amqp]\nurl = amqps://me:secret@broker.invalid/\nca_file = {tmp_path}/ca.pem\n")
    ended = run("check-config", "--config", file)
    assert ended.returncode == 2
    assert f"cannot read {tmp_path}/ca.pem" in ended.stdout
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    assert run("check-config", "--config", file).returncode == 0


def test_a_mistake_is_told_with_the_flag_or_variable_that_it_came_from(tmp_path: Path) -> None:
    file = write(tmp_path, "[store]\nurl = memory://\n")
    ended = run("check-config", "--config", file, SHOAL_STORE="redis://host:99999/0")
    assert "mistake: SHOAL_STORE: [store] url: redis://host:99999/0" in ended.stdout
    ended = run("check-config", "--config", file, "--locations", "/none.csv")
    assert "mistake: --locations: [geo] locations: /none.csv" in ended.stdout


def test_the_roles_are_checked_as_the_server_would() -> None:
    assert run("check-config").returncode == 0
    ended = run("check-config", "intake")
    assert ended.returncode == 2
    assert "servers that share the work need a Redis" in ended.stdout


def test_an_open_listener_is_a_mistake() -> None:
    ended = run("check-config", "--amqp", "embedded://0.0.0.0:5672")
    assert ended.returncode == 2
    assert "would let anyone announce squids" in ended.stdout


def test_a_state_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    assert run("check-config", "--store", f"memory://{tmp_path}/state").returncode == 2


def test_a_directory_that_is_not_there_yet_is_noted(tmp_path: Path) -> None:
    ended = run("check-config", "--store", f"memory://{tmp_path}/later/state")
    assert ended.returncode == 0
    assert f"note: --store: [store] url: {tmp_path}/later is not there yet" in ended.stdout


def test_keys_of_older_servers_are_noted(tmp_path: Path) -> None:
    ended = run("check-config", "--config", write(tmp_path, "[cache]\ncache_inactive_time = 180\n"))
    assert ended.returncode == 0
    assert "[cache] cache_inactive_time is now [squids] dead_after" in ended.stdout


def test_a_password_is_not_told(tmp_path: Path) -> None:
    ended = run("check-config", "--json", "--amqp", "amqp://me:secret@host:99999/")
    assert ended.returncode == 2
    assert json.loads(ended.stdout)["mistakes"]
    assert "secret" not in ended.stdout + ended.stderr
