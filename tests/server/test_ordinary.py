"""The quick way to read a heartbeat makes the same of every message as the one that says what they mean."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_common.errors import InvalidHeartbeat
from shoal_common.heartbeat import AgentState, CacheType, Heartbeat, Metrics, Upstream, decode
from shoal_server.intake.ordinary import ordinary, read
from tests.common.properties import PROPERTY
from tests.fakes import GENERATIONS, beat

WHOLE: dict[str, Any] = {
    **json.loads(GENERATIONS["ours"]),
    "private_ip": "10.1.2.3",
    "external_ip": "192.0.2.9",
    "ipv6": "2001:db8::1",
    "interval": 30.0,
    "requests_per_s": 1.5,
    "fds_used": 12,
    "fds_max": 1024,
    "cpu_share": 0.25,
    "cpu_cores": 1,
    "global_access": "True",
    "domain_access": False,
}
ODD = [
    *(None, True, False, "", " ", "x", "cache", "varnish", "draining", "LEAVING", [], {}, [1], {"a": None}),
    *(
        0,
        -0.0,
        1,
        -1,
        3128.0,
        65535,
        65536,
        0.1,
        0.05,
        86400,
        86401,
        1e9,
        1e9 + 1,
        -112,
        10**30,
        1e300,
        2**63,
        483183820687,
    ),
    *(
        "3128",
        "122000",
        " 7 ",
        "1e3",
        "sq1.example.org.",
        "192.0.2.1",
        "192.0.2.1:3128",
        "10.0.0.1",
        "0.0.0.0",
        "0.0.0.0:3128",
        "::",
    ),
    *(
        "100.64.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "::1",
        "fe80::1",
        "2001:DB8::0:1",
        "::ffff:1.2.3.4",
    ),
    *(
        "$(reboot)",
        "a b",
        "a\nb",
        "ä",
        "\ud800",
        "a" * 64,
        "a" * 65,
        "h" * 300,
        "192.0.2.01",
        "1.2.3",
        "224.0.0.1",
    ),
]
KEYS = [*WHOLE, "an_unknown_key"]


def made_of(body: bytes, by: Any) -> Heartbeat | tuple[str, str]:
    """The heartbeat, or what its refusal says."""
    try:
        heartbeat: Heartbeat = by(body)
    except InvalidHeartbeat as error:
        return error.field, str(error)
    return heartbeat


def same(body: bytes) -> None:
    mine, meant = made_of(body, read), made_of(body, decode)
    assert (mine, repr(mine)) == (meant, repr(meant))


@pytest.mark.parametrize("key", KEYS)
def test_an_odd_value_under_any_key_comes_to_the_same(key: str) -> None:
    for value in ODD:
        same(json.dumps(WHOLE | {key: value}).encode())


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_comes_to_the_same(key: str) -> None:
    same(json.dumps({name: value for name, value in WHOLE.items() if name != key}).encode())


@PROPERTY
@given(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(ODD), max_size=8))
def test_several_odd_values_come_to_the_same(changes: dict[str, Any]) -> None:
    same(json.dumps(WHOLE | changes).encode())
    same(json.dumps(WHOLE | changes, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    same(json.dumps({key: value for key, value in (WHOLE | changes).items() if value is not None}).encode())


@PROPERTY
@given(st.data())
def test_a_damaged_message_comes_to_the_same(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([*GENERATIONS.values(), json.dumps(WHOLE).encode()]))
    first = data.draw(st.integers(0, len(whole)))
    last = data.draw(st.integers(first, min(len(whole), first + 3)))
    same(
        whole[:first]
        + data.draw(st.sampled_from([b"", b"0", b'"', b"\x00", b",", b"{", b"\\", b"\xff"]))
        + whole[last:]
    )


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b"{", b"1" * 5000, b"[" * 60_000, b'{"verified":' * 9000, b"\xef\xbb\xbf{}"),
        json.dumps(WHOLE).encode() + b" " * 65_536,
        json.dumps(WHOLE).encode()[:-1] + b', "load": 7, "load": 8}',
        json.dumps(WHOLE).encode().replace(b'"load": 100.0', b'"load": 1e400'),
        json.dumps(WHOLE).encode().replace(b'"load": 100.0', b'"load": NaN'),
        json.dumps(WHOLE).encode().replace(b'"load": 100.0', b'"load": 1' + b"0" * 400),
        json.dumps(WHOLE).encode().replace(b'"load"', b'"\\u006coad"'),
    ],
    ids=range(14),
)
def test_what_json_leaves_open_comes_to_the_same(body: bytes) -> None:
    same(body)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_generation_comes_to_the_same(generation: str) -> None:
    same(GENERATIONS[generation])


@pytest.mark.parametrize("generation", ["0.1", "0.6-0.8", "newest", "ours"])
def test_what_agents_ordinarily_say_is_read_the_quick_way(generation: str) -> None:
    assert ordinary(GENERATIONS[generation]) == decode(GENERATIONS[generation])


def test_all_that_our_agents_can_say_is_read_the_quick_way() -> None:
    said = replace(
        beat(
            private_ip="10.0.0.1", external_ip="192.0.2.77", ipv6="2001:db8::1", cache_type=CacheType.VARNISH
        ),
        upstream=Upstream.FRONTIER,
        state=AgentState.DRAINING,
        interval=30.0,
        agent="shoal-2.0.0",
        metrics=Metrics(1.0, 0.5, 0.0, 12.5, 3.0, 10, 1024, 0.25, 4),
    )
    assert ordinary(said.encode()) == said


def test_a_metric_that_was_not_whole_is_left_to_the_other_way() -> None:
    assert ordinary(json.dumps(WHOLE | {"fds_used": 1.5}).encode()) is None
