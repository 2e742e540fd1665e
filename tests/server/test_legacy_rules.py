"""The rules of the legacy text, one by one (docs/rest.md), as the server really says it: for squids of
every generation of agents, by the framework and in front of it.
"""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from werkzeug.test import Client

from shoal_common.heartbeat import CacheType, Upstream, decode
from shoal_common.hosts import host_text, ipv4
from shoal_server.squid import Place, Squid
from shoal_server.web import application, create_app
from tests.common.oldreader import SCALARS, OldReader
from tests.fakes import GENERATIONS, GOOD, NOW, VICTORIA, squid
from tests.server.site import Site

HERE = "203.0.113.50"
ODD = Place(48.0, -123.0, site="uvic", city='Sault "Ste", Marie\\', country_code="CA", country_name="null")
PATHS = ["/nearest/50", "/nearestverified/50/", "/nearestcvmfs50", "/nearestconditions/50", "/all"]
USED = (
    "load",
    "squid_port",
    "public_ip",
    "private_ip",
    "local",
    "hostname",
    "created",
    "last_active",
    "external_ip",
)


def squids() -> list[Squid]:
    heard = [decode(body) for body in GENERATIONS.values()]
    return [
        *(Squid(beat, NOW, NOW, beat.load, GOOD) for beat in heard),
        squid(public_ip="192.0.2.1", uuid="1", hostname="null.example.org", max_load=None),
        squid(public_ip=None, private_ip="10.0.0.2", uuid="2"),
        squid(public_ip="192.0.2.3", private_ip="10.0.0.3", ipv6="2001:db8::3", uuid="3", load=1e-7),
        squid(public_ip=None, ipv6="2001:db8::4", uuid="4"),
        squid(public_ip="192.0.2.5", uuid="5", cache_type=CacheType.VARNISH, upstream=Upstream.CVMFS),
        squid(public_ip="192.0.2.6", uuid="6", upstream=Upstream.FRONTIER, load=90_000.0),
    ]


@pytest.fixture(scope="module")
def site() -> Site:
    odd = {"192.0.2.1": ODD, "192.0.2.108": replace(ODD, site=None)}
    return Site(squids(), {"10.0.0.2": VICTORIA, "192.0.2.3": VICTORIA, HERE: VICTORIA, **odd})


@pytest.fixture(params=["framework", "served"])
def door(request: pytest.FixtureRequest, site: Site) -> Client:
    return Client(create_app(site.backend) if request.param == "framework" else application(site.backend))


@pytest.fixture(params=[*PATHS, "/nearest/50?ipv6=yes"])
def text(request: pytest.FixtureRequest, door: Client) -> str:
    answer = door.get(request.param, environ_base={"REMOTE_ADDR": HERE})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    return str(answer.text)


def entries(text: str) -> list[dict[str, Any]]:
    return list(json.loads(text).values())


def test_rule_1_every_key_is_followed_by_a_colon_and_one_blank(text: str) -> None:
    assert OldReader(text).count == len(entries(text)) >= 9
    assert len(re.findall(r'": ', text)) == len(re.findall(r'":', text))


def test_rule_2_every_entry_has_every_key_that_is_looked_for(text: str) -> None:
    assert all(set(USED) <= set(entry) for entry in entries(text))


def test_rule_3_none_of_them_is_the_last_of_its_object_but_for_the_distance(text: str) -> None:
    assert {list(entry)[-1] for entry in entries(text)} <= {"distance", "upstream"}
    assert {list(entry["geo_data"])[-1] for entry in entries(text)} == {"continent"}
    assert not any("}" in hit for key in USED for hit in OldReader(text).hits[key])


def test_rule_4_they_occur_nowhere_else(text: str) -> None:
    reader = OldReader(text)
    told = [key for key in SCALARS if key != "distance" or "distance" in entries(text)[0]]
    assert {len(reader.hits[key]) for key in told} == {reader.count}


def test_rule_5_entries_stand_in_rank_order(text: str) -> None:
    assert list(json.loads(text)) == [str(n) for n in range(len(entries(text)))]
    indexes = re.findall(r'"([0-9]+)": {', text)
    assert indexes == sorted(indexes, key=int)


def test_rule_6_local_is_null_or_true(text: str) -> None:
    assert {entry["local"] for entry in entries(text)} == {None, True}


def test_rule_7_no_scalar_string_holds_a_comma_or_null(text: str) -> None:
    strings = [entry[key] for entry in entries(text) for key in SCALARS if isinstance(entry.get(key), str)]
    assert strings
    assert not [one for one in strings if "," in one or "null" in one]


def test_rule_8_strings_in_geo_data_hold_no_quote_and_no_backslash(text: str) -> None:
    values = [
        value for entry in entries(text) for value in entry["geo_data"].values() if isinstance(value, str)
    ]
    assert any("Sault" in value for value in values)
    assert not [value for value in values if '"' in value or "\\" in value]


def test_rule_9_the_top_level_holds_caches_and_nothing_else(text: str) -> None:
    assert sum(entry["load"] for entry in entries(text)) > 0


@pytest.mark.parametrize("text", PATHS, indirect=True)
def test_rule_10_no_ipv6_address_appears_unasked(text: str) -> None:
    assert "2001:" not in text
    for entry in entries(text):
        assert [ipv4(entry[key]) for key in ("public_ip", "private_ip") if entry[key] is not None]


def test_rule_11_a_hostname_is_a_host_name_or_an_address(text: str) -> None:
    for entry in entries(text):
        assert host_text(entry["hostname"]) == entry["hostname"]


def test_clients_of_the_first_generation_are_told_how_the_outside_sees_them(door: Client) -> None:
    answer = door.get("/external", environ_base={"REMOTE_ADDR": "203.0.113.9"})
    assert (answer.status_code, answer.text) == (200, '{"external_ip": "203.0.113.9"}')
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", ["/", "/7", "/7/", "/?page=2", "/1?page=3"])
def test_the_page_has_as_many_rows_as_its_path_says(door: Client, path: str) -> None:
    assert door.get(path, environ_base={"REMOTE_ADDR": HERE}).status_code == 200
