"""The flat list that WLCG's auto-discovery reads beside its own registry."""

from typing import Any

import pytest

from shoal_common.heartbeat import AgentState, CacheType, Upstream
from shoal_server.squid import Reach, Verification
from tests.fakes import NOW, VICTORIA, squid
from tests.server.site import Site

PATH = "/wlcg-squids.json"


def read(site: Site) -> Any:
    return site.get(PATH).get_json()


def test_it_is_an_object_of_flat_values_by_name() -> None:
    site = Site([squid()], {"192.0.2.1": VICTORIA})
    assert read(site) == {
        "sq1.example.org": {"public_ip": "192.0.2.1", "city": "Victoria", "country_code": "CA"}
    }


def test_what_is_not_known_is_left_out_for_null_breaks_the_reader() -> None:
    assert site_text([squid()]) == '{"sq1.example.org":{"public_ip":"192.0.2.1"}}'
    assert site_text([]) == "{}"


def site_text(squids: list[Any]) -> str:
    return Site(squids).get(PATH).text


@pytest.mark.parametrize(
    "changes",
    [
        {"port": 3129},
        {"verification": Verification()},
        {"verification": Verification(Reach.FAILED, "refused", NOW, NOW)},
        {"verification": Verification(Reach.LOCAL, "it refuses us", NOW, NOW)},
        {"verification": Verification(Reach.GLOBAL, "served", NOW, NOW, lacks=("frontier",))},
        {"cache_type": CacheType.VARNISH},
        {"upstream": Upstream.CVMFS},
        {"upstream": Upstream.FRONTIER},
        {"state": AgentState.DRAINING},
        {"public_ip": None, "private_ip": "10.0.0.1"},
        {"public_ip": None, "ipv6": "2001:db8::1"},
    ],
)
def test_a_squid_that_not_everybody_can_use_for_everything_at_3128_is_not_listed(
    changes: dict[str, Any],
) -> None:
    assert site_text([squid(**changes)]) == "{}"


def test_the_inside_address_is_told_to_nobody() -> None:
    site = Site([squid(private_ip="10.0.0.1")], {"192.0.2.1": VICTORIA, "203.0.113.8": VICTORIA})
    for asker in ("203.0.113.7", "203.0.113.8", "192.0.2.1"):
        assert b"10.0.0.1" not in site.get(PATH, asker).data


def test_squids_of_one_name_are_all_listed() -> None:
    squids = [squid(public_ip=f"192.0.2.{n}", uuid=f"{n}") for n in (1, 2)]
    assert read(Site(squids)) == {
        "sq1.example.org": {"public_ip": "192.0.2.1"},
        "sq1.example.org 192.0.2.2": {"public_ip": "192.0.2.2"},
    }


def test_it_is_the_same_for_all_and_need_not_be_sent_twice() -> None:
    site = Site([squid()])
    first = site.get(PATH)
    assert first.headers["Cache-Control"] == "public, max-age=60"
    assert site.get(PATH, If_None_Match=first.headers["ETag"]).status_code == 304
    assert site.get(PATH, method="HEAD").data == b""
