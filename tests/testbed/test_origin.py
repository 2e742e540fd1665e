"""The origin: the bytes of CVMFS and Frontier, and its faults."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from xml.etree import ElementTree as ET

import pytest
import requests

from testbed import content
from testbed.origin import Fault, Origin
from testbed.origin_process import OriginProcess
from tests.testbed.fetch import fetch

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
PUBLISHED = "/cvmfs/atlas.cern.ch/.cvmfspublished"
WHITELIST = "/cvmfs/atlas.cern.ch/.cvmfswhitelist"
QUERY = "type=frontier_request:1:DEFAULT&encoding=BLOBzip5&p1=eNp"
IDENTIFIED = {"X-frontier-id": "test"}


def test_a_manifest_is_key_lines_then_a_hash_and_a_binary_signature() -> None:
    lines, _, tail = content.manifest("cms.cern.ch", NOW, revision=7).partition(b"--\n")
    keys = {line[:1]: line[1:] for line in lines.splitlines()}
    assert keys[b"N"] == b"cms.cern.ch"
    assert keys[b"S"] == b"7"
    assert int(keys[b"T"]) == NOW.timestamp()
    assert set(b"CRDS") <= {key[0] for key in keys}
    with pytest.raises(UnicodeDecodeError):
        tail.decode()


def test_a_whitelist_expires_thirty_days_after_it_was_made() -> None:
    lines = content.whitelist("cms.cern.ch", NOW).split(b"\n")
    assert lines[:3] == [b"20260504030201", b"E20260603030201", b"Ncms.cern.ch"]
    assert b"--" in lines


def test_the_files_of_a_repository_may_be_cached_for_a_minute(origin: Origin) -> None:
    for path in (PUBLISHED, WHITELIST):
        reply = fetch(origin.url + path)
        assert reply.headers["Cache-Control"] == "max-age=61"
        assert b"\nNatlas.cern.ch\n" in reply.content


def test_an_unknown_repository_or_path_is_not_found(origin: Origin) -> None:
    for path in ("/cvmfs/nobody.example.org/.cvmfspublished", "/cvmfs/atlas.cern.ch/x", "/"):
        assert fetch(origin.url + path).status_code == 404


def test_a_servlet_wants_to_know_who_asks(origin: Origin) -> None:
    reply = fetch(f"{origin.url}/atlr/Frontier/{QUERY}")
    assert reply.status_code == 200
    assert b"X-frontier-id header missing" in reply.content


@pytest.mark.parametrize("form", ["/atlr/Frontier/", "/atlr/Frontier?"])
def test_a_servlet_answers_a_query_in_both_forms(origin: Origin, form: str) -> None:
    reply = fetch(origin.url + form + QUERY, headers=IDENTIFIED)
    quality = ET.fromstring(reply.content).find(".//quality")  # noqa: S314 - our own servlet's answer
    assert quality is not None
    assert quality.get("error") == "0"


def test_a_servlet_without_a_query_answers_200(origin: Origin) -> None:
    assert fetch(f"{origin.url}/atlr", headers=IDENTIFIED).status_code == 200


@pytest.mark.parametrize(("fault", "status"), [(Fault.ERROR, 500), (Fault.FORBIDDEN, 403)])
def test_a_fault_sets_the_status(origin: Origin, fault: Fault, status: int) -> None:
    origin.set_fault(fault)
    assert fetch(origin.url + PUBLISHED).status_code == status
    origin.set_fault(Fault.NONE)
    assert fetch(origin.url + PUBLISHED).status_code == 200


def test_an_origin_that_is_down_closes_the_connection_without_an_answer(origin: Origin) -> None:
    origin.set_fault(Fault.DOWN)
    with pytest.raises(requests.ConnectionError):
        fetch(origin.url + PUBLISHED)
    assert origin.count(PUBLISHED) == 1


def test_a_captive_page_comes_with_200(origin: Origin) -> None:
    origin.set_fault(Fault.CAPTIVE)
    reply = fetch(origin.url + PUBLISHED)
    assert reply.status_code == 200
    assert reply.content.startswith(b"<!DOCTYPE html>")


def test_a_stale_whitelist_has_expired() -> None:
    with Origin(now=NOW) as origin:
        origin.set_fault(Fault.STALE)
        assert fetch(origin.url + WHITELIST).content.split(b"\n")[1] == b"E20260305030201"


def test_a_foreign_origin_serves_another_repository(origin: Origin) -> None:
    origin.set_fault(Fault.FOREIGN)
    for path in (PUBLISHED, WHITELIST):
        assert b"Natlas.cern.ch" not in fetch(origin.url + path).content


def test_a_slow_origin_sends_its_body_at_the_given_rate(origin: Origin) -> None:
    origin.set_fault(Fault.SLOW, rate=2000)
    start = monotonic()
    reply = fetch(origin.url + PUBLISHED)
    assert monotonic() - start >= 0.9 * len(reply.content) / 2000
    assert len(reply.content) == int(reply.headers["Content-Length"])


def test_a_stopped_origin_cuts_open_connections_and_returns_on_its_port(origin: Origin) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.get(origin.url + PUBLISHED, timeout=5)
        origin.stop()
        with pytest.raises(requests.ConnectionError):
            session.get(origin.url + PUBLISHED, timeout=5)
        origin.start()
        assert session.get(origin.url + PUBLISHED, timeout=5).status_code == 200


def test_an_origin_process_is_steered_and_read_from_outside(new_directory: Callable[[str], Path]) -> None:
    with OriginProcess(new_directory("origin"), repositories=["a.example.org"]) as origin:
        path = "/cvmfs/a.example.org/.cvmfspublished"
        assert fetch(origin.url + path).status_code == 200
        origin.set_fault(Fault.ERROR)
        assert fetch(origin.url + path).status_code == 500
        assert origin.count(path) == 2
        origin.forget()
        assert origin.requests == []
