"""`/healthz`: the process is well for as long as it answers lookups, and says what it lacks.
`/readyz`: whether requests are to be sent to it.
"""

import threading
from typing import Any

import pytest

from shoal_common.hosts import HostPort
from shoal_server.build import Role, build
from shoal_server.settings import ServerSettings
from testbed.ports import free_port
from tests.fakes import NOW, squid
from tests.server.site import Site


@pytest.fixture
def site() -> Site:
    return Site([squid()])


def health(site: Site) -> dict[str, Any]:
    answer = site.get("/healthz")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    told: dict[str, Any] = answer.get_json()
    return told


def readiness(site: Site) -> tuple[int, str]:
    answer = site.get("/readyz")
    return answer.status_code, answer.get_json()["status"]


def test_a_server_that_lacks_nothing_is_ok(site: Site) -> None:
    assert health(site) == {
        "status": "ok",
        "hold": False,
        "intake": "connected",
        "store": "ok",
        "stale_seconds": 0,
        "squids": 1,
        "heartbeats": {},
    }


def test_a_server_without_intake_is_degraded_and_answers(site: Site) -> None:
    site.connected = False
    assert (health(site)["status"], health(site)["intake"]) == ("degraded", "away")


def test_a_server_without_store_is_degraded_and_tells_for_how_long(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.store.away = True
    site.keeper.refresh(NOW)
    monkeypatch.setattr("time.time", lambda: NOW + 12.34)
    told = health(site)
    assert (told["status"], told["store"], told["stale_seconds"], told["squids"]) == (
        "degraded",
        "away",
        12.3,
        1,
    )


def test_a_store_that_comes_back_is_ok_again(site: Site) -> None:
    site.store.away = True
    site.keeper.refresh(NOW)
    site.store.away = False
    site.keeper.refresh(NOW + 1)
    assert (health(site)["status"], health(site)["stale_seconds"]) == ("ok", 0)


def test_a_hold_is_told_and_is_no_fault_of_the_server(site: Site) -> None:
    site.held = True
    assert (health(site)["status"], health(site)["hold"]) == ("ok", True)


def test_what_became_of_the_heartbeats_is_told(site: Site) -> None:
    site.heartbeats = {"accepted": 7, "load": 2}
    assert health(site)["heartbeats"] == {"accepted": 7, "load": 2}


def test_head_is_answered(site: Site) -> None:
    assert site.get("/healthz", method="HEAD").status_code == 200


def test_a_server_that_has_read_its_store_is_ready(site: Site) -> None:
    assert readiness(site) == (200, "ready")


def test_a_server_with_an_empty_store_is_ready() -> None:
    assert readiness(Site()) == (200, "ready")


def test_a_server_that_never_reached_its_store_is_not_ready_and_well() -> None:
    site = Site(away=True)
    assert readiness(site) == (503, "starting")
    health(site)


def test_a_server_whose_store_came_late_becomes_ready() -> None:
    site = Site(away=True)
    site.store.away = False
    site.keeper.refresh(NOW)
    assert readiness(site) == (200, "ready")


def test_a_server_that_lost_its_store_stays_ready(site: Site) -> None:
    site.store.away = True
    site.keeper.refresh(NOW + 1)
    assert readiness(site) == (200, "ready")


def test_a_server_that_is_told_to_end_is_not_ready_and_well(site: Site) -> None:
    site.ending.stop = threading.Event()
    assert readiness(site) == (200, "ready")
    site.ending.stop.set()
    assert readiness(site) == (503, "draining")
    health(site)


def test_a_running_server_knows_when_it_is_told_to_end() -> None:
    settings = ServerSettings(
        listen=HostPort("127.0.0.1", 0), amqp=f"embedded://127.0.0.1:{free_port()}", verify=False
    )
    server, stop = build(settings, list(Role)), threading.Event()
    assert not server.ending
    stop.set()
    server.run(stop)
    assert server.ending


def test_readiness_is_not_cached(site: Site) -> None:
    assert site.get("/readyz").headers["Cache-Control"] == "no-store"
