"""What an operator may change, and who may not."""

from typing import Any

import pytest
from werkzeug.test import TestResponse

from shoal_server.registry import EventKind
from tests.fakes import squid
from tests.server.site import Site

TOKEN = "correct-horse-battery"
RIGHT = {"squid": "192.0.2.1:3128", "who": "ada", "why": "kernel update"}


def post(site: Site, body: Any, token: str = TOKEN, change: str = "drain") -> TestResponse:
    headers = {"Authorization": f"Bearer {token}"}
    return site.client.post(f"/api/v1/{change}", json=body, headers=headers)


def told(site: Site, path: str = "/nearest") -> bool:
    site.show([])
    return bool(site.get(path).data != b"null")


def test_a_draining_squid_is_not_told_to_new_workers() -> None:
    site = Site([squid()], token=TOKEN)
    assert post(site, RIGHT).status_code == 204
    assert not told(site)


def test_who_uses_a_draining_squid_already_is_still_told_of_it() -> None:
    site = Site([squid()], token=TOKEN)
    post(site, RIGHT)
    assert told(site, "/nearest?keep=192.0.2.1:3128")
    assert not told(site, "/nearest?keep=192.0.2.1:3129")


def test_a_mark_that_was_lifted_has_no_effect() -> None:
    site = Site([squid()], token=TOKEN)
    post(site, RIGHT)
    assert post(site, RIGHT, change="undrain").status_code == 204
    assert told(site)


def test_who_and_why_are_in_the_event_log() -> None:
    site = Site([squid()], token=TOKEN)
    post(site, RIGHT)
    event = site.store.events(1)[0]
    assert (event.kind, event.squid_id, event.detail) == (
        EventKind.DRAINED,
        "192.0.2.1:3128",
        "ada: kernel update",
    )


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x"])
def test_nothing_changes_without_the_token(token: str) -> None:
    site = Site([squid()], token=TOKEN)
    answer = post(site, RIGHT, token)
    assert (answer.status_code, answer.mimetype) == (401, "application/problem+json")
    assert told(site)


def test_without_a_token_set_nothing_can_be_changed() -> None:
    site = Site([squid()])
    assert post(site, RIGHT, "").status_code == 403
    assert told(site)


@pytest.mark.parametrize(
    "body", [None, [], "x", {}, {**RIGHT, "why": ""}, {**RIGHT, "who": 5}, {**RIGHT, "why": "a\nb"}]
)
def test_a_body_that_will_not_do_says_what_would(body: Any) -> None:
    site = Site([squid()], token=TOKEN)
    answer = post(site, body)
    assert answer.status_code == 400
    assert "squid, who and why" in answer.get_json(force=True)["detail"]


def test_a_squid_that_is_not_there_is_named() -> None:
    answer = post(Site([squid()], token=TOKEN), {**RIGHT, "squid": "192.0.2.9:1"})
    assert answer.status_code == 404
    assert "192.0.2.9:1" in answer.get_json(force=True)["detail"]


def test_a_change_while_the_store_is_away_is_refused() -> None:
    site = Site([squid()], token=TOKEN)
    site.store.away = True
    assert post(site, RIGHT).status_code == 503


def test_a_squid_that_is_forgotten_is_gone_until_it_is_heard_again() -> None:
    site = Site([squid()], token=TOKEN)
    assert post(site, RIGHT, change="forget").status_code == 204
    assert not told(site)
    event = site.store.events(1)[0]
    assert (event.kind, event.detail) == (EventKind.FORGOTTEN, "ada: kernel update")
    told_events = site.get("/api/v1/events", Authorization=f"Bearer {TOKEN}").get_json()["events"]
    assert (told_events[0]["squid"], told_events[0]["kind"]) == ("192.0.2.1:3128", "forgotten")
    site.show([squid()])
    assert told(site)


@pytest.mark.parametrize("change", ["drain", "undrain", "forget"])
def test_no_change_is_made_by_asking(change: str) -> None:
    site = Site([squid()], token=TOKEN)
    answer = site.get(f"/api/v1/{change}", Authorization=f"Bearer {TOKEN}")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]
    assert told(site)


def test_who_bears_no_token_is_told_how_it_is_given() -> None:
    assert post(Site([squid()], token=TOKEN), RIGHT, "wrong").headers["WWW-Authenticate"] == "Bearer"
