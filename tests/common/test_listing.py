"""The answer as deployed clients read it (by regular expression), and as we read theirs."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_common.errors import InvalidListing
from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.listing import GEO_KEYS, ListedCache, decode, encode
from tests.common.oldreader import GEO, SCALARS, OldReader
from tests.common.properties import HOST_NAMES, IPV4, PORTS, PROPERTY

CACHE = ListedCache(
    hostname="sq1.example.org",
    port=3128,
    public_ip="206.12.48.10",
    private_ip=None,
    created=1700000000.11,
    last_active=1700000031.5,
    load=12.5,
    max_load=122000.0,
    geo={
        "city": "Victoria",
        "latitude": 48.4329,
        "longitude": -123.3693,
        "country_code": "CA",
        "continent": "NA",
    },
    distance=0.0123,
)
GEO_TEXT = st.text(max_size=20) | st.sampled_from(
    ['Sault "Ste", Marie', "a\\", '\\"', 'x", "load": 7, "', "Zürich", "null", "}", "é, ß", '"hostname": "h"']
)
SECONDS = st.floats(0, 4e9)
CACHES = st.builds(
    ListedCache,
    hostname=HOST_NAMES,
    port=PORTS,
    public_ip=st.none() | IPV4,
    private_ip=IPV4,
    external_ip=st.none() | IPV4,
    created=SECONDS,
    last_active=SECONDS,
    load=st.floats(0, 1e9),
    max_load=st.floats(0, 1e9),
    verified=st.booleans(),
    global_access=st.booleans(),
    local=st.booleans(),
    cache_type=st.sampled_from(CacheType),
    upstream=st.sampled_from(Upstream),
    geo=st.dictionaries(
        st.sampled_from([*GEO_KEYS, "load", "hostname"]),
        st.none() | st.floats(-180, 180) | GEO_TEXT,
    ),
    distance=st.floats(0, 20038),
    ipv6=st.none() | st.just("2001:db8::1"),
)
ANSWERS = st.lists(CACHES, min_size=1, max_size=4)


# --- the rules of deployed parsers ------------------------------------------------------------------


@PROPERTY
@given(ANSWERS)
def test_old_clients_count_as_many_caches_as_there_are(caches: list[ListedCache]) -> None:
    assert OldReader(encode(caches).decode()).count == len(caches)


@PROPERTY
@given(ANSWERS)
def test_the_text_is_the_one_that_deployed_servers_write(caches: list[ListedCache]) -> None:
    text = encode(caches).decode()
    assert json.dumps(json.loads(text)) == text


@PROPERTY
@given(ANSWERS)
def test_every_watched_key_stands_once_in_each_entry_and_nowhere_else(caches: list[ListedCache]) -> None:
    reader = OldReader(encode(caches).decode())
    assert {key: len(hits) for key, hits in reader.hits.items()} == dict.fromkeys(SCALARS, len(caches))
    assert {len(hits) for key, hits in reader.geo.items() if key in GEO_KEYS} == {len(caches)}
    assert {len(hits) for key, hits in reader.geo.items() if key not in GEO_KEYS} == {0}


@PROPERTY
@given(ANSWERS)
def test_old_clients_read_what_was_written(caches: list[ListedCache]) -> None:
    reader = OldReader(encode(caches).decode())
    for index, cache in enumerate(caches):
        assert reader.scalar("squid_port", index) == str(cache.port)
        assert reader.scalar("public_ip", index) == cache.public_ip
        assert reader.scalar("private_ip", index) == cache.private_ip
        assert reader.scalar("external_ip", index) == cache.external_ip
        assert reader.scalar("local", index) == ("true" if cache.local else None)
        for key, value in (
            ("load", cache.load),
            ("created", cache.created),
            ("last_active", cache.last_active),
        ):
            assert float(reader.scalar(key, index) or "") == round(value, 2)


@PROPERTY
@given(ANSWERS)
def test_old_clients_find_a_host_to_connect_to_even_where_its_name_holds_null(
    caches: list[ListedCache],
) -> None:
    reader = OldReader(encode(caches).decode())
    for index, cache in enumerate(caches):
        address = cache.public_ip or cache.private_ip
        assert reader.scalar("hostname", index) == (address if "null" in cache.hostname else cache.hostname)


def test_a_squid_with_ipv6_alone_whose_name_holds_null_is_told_all_the_same() -> None:
    squid = ListedCache("null-island.org", 3128, public_ip=None, private_ip=None, ipv6="2001:db8::1")
    assert decode(encode([squid])).caches[0].ipv6 == "2001:db8::1"


@PROPERTY
@given(ANSWERS)
def test_old_clients_read_geographic_text_whatever_it_holds(caches: list[ListedCache]) -> None:
    text = encode(caches).decode()
    reader = OldReader(text)
    entries = list(json.loads(text).values())
    for key in set(GEO) & set(GEO_KEYS):
        for hit, entry in zip(reader.geo[key], entries, strict=True):
            value = entry["geo_data"][key]
            # A last key without quotes is read with its brace, as from the original server.
            assert (
                hit.rstrip("}") == json.dumps(value)
                if not isinstance(value, str)
                else hit + '"' == json.dumps(value)
            )


@PROPERTY
@given(ANSWERS)
def test_the_brace_that_ends_an_entry_touches_nothing_but_the_distance(caches: list[ListedCache]) -> None:
    reader = OldReader(encode(caches).decode())
    assert [key for key, hits in reader.hits.items() if any("}" in hit for hit in hits)] in ([], ["distance"])
    for index, cache in enumerate(caches):
        assert float((reader.scalar("distance", index) or "").rstrip("}")) == round(cache.distance or 0, 2)


def test_local_is_null_or_true_and_never_false() -> None:
    near = ListedCache("h", 1, "1.2.3.4", None, local=True)
    assert [entry["local"] for entry in json.loads(encode([near, CACHE])).values()] == [True, None]


def test_entries_stand_in_rank_order_and_are_numbered_from_zero() -> None:
    text = encode([CACHE] * 12).decode()
    assert re.findall(r'"([0-9]+)": {', text) == [str(index) for index in range(12)]


def test_the_top_level_holds_caches_alone() -> None:
    entries = json.loads(encode([CACHE, CACHE]))
    assert sum(entry["load"] for entry in entries.values()) == 25.0


def test_no_caches_are_told_as_null() -> None:
    assert encode([]) == b"null"


def test_an_answer_without_distances_has_none() -> None:
    everything = encode([ListedCache("h", 1, "1.2.3.4", None)] * 2)
    assert b"distance" not in everything
    assert b'"cache_type": "squid", "upstream": "both"}' in everything


def test_the_answer_has_the_legacy_shape_to_the_letter() -> None:
    assert encode([CACHE]) == (
        b'{"0": {"created": 1700000000.11, "last_active": 1700000031.5, "hostname": "sq1.example.org", '
        b'"squid_port": 3128, "public_ip": "206.12.48.10", "private_ip": null, "external_ip": null, '
        b'"load": 12.5, '
        b'"geo_data": {"city": "Victoria", "region_code": null, "time_zone": null, "metro_code": null, '
        b'"latitude": 48.4329, "longitude": -123.3693, "postal_code": null, "country_code": "CA", '
        b'"country_name": null, "continent": "NA"}, "verified": true, "global_access": true, '
        b'"max_load": 122000, "local": null, "cache_type": "squid", "upstream": "both", "distance": 0.01}}'
    )


# --- reading answers --------------------------------------------------------------------------------

OLD_ENTRY: dict[str, Any] = {
    "created": 1700000000.11,
    "last_active": 1700000031.5,
    "hostname": "sq1.example.org",
    "squid_port": 3128,
    "public_ip": "206.12.48.10",
    "private_ip": None,
    "geo_data": {"city": "Victoria", "latitude": 48.4},
    "load": 12.5,
}


def answer(*entries: object) -> bytes:
    return json.dumps({str(index): entry for index, entry in enumerate(entries)}).encode()


def entry(**changes: object) -> dict[str, object]:
    return {key: value for key, value in (OLD_ENTRY | changes).items() if value is not ...}


@PROPERTY
@given(ANSWERS)
def test_we_read_what_we_write(caches: list[ListedCache]) -> None:
    listing = decode(encode(caches))
    assert listing.refused == ()
    for read, sent in zip(listing.caches, caches, strict=True):
        assert (read.port, read.public_ip, read.private_ip) == (sent.port, sent.public_ip, sent.private_ip)
        assert read.ipv6 == sent.ipv6
        assert (read.load, read.max_load, read.local) == (
            round(sent.load, 2),
            round(sent.max_load),
            sent.local,
        )
        assert (read.cache_type, read.upstream) == (sent.cache_type, sent.upstream)
        assert read.distance == round(sent.distance or 0, 2)


@pytest.mark.parametrize("body", [b"null", b"{}", b" null\n"])
def test_an_answer_without_caches_is_an_empty_listing(body: bytes) -> None:
    assert decode(body).caches == ()


def test_an_answer_of_a_server_of_2013_is_read() -> None:
    (cache,) = decode(answer(entry())).caches
    assert (cache.hostname, cache.port, cache.public_ip) == ("sq1.example.org", 3128, "206.12.48.10")
    assert (cache.upstream, cache.cache_type, cache.local) == (Upstream.BOTH, CacheType.SQUID, False)
    assert (cache.max_load, cache.distance) == (0.0, None)


def test_a_port_that_a_server_echoes_as_text_is_read() -> None:
    assert decode(answer(entry(squid_port="3128", max_load="122000"))).caches[0].port == 3128


def test_the_name_that_the_port_had_for_a_week_is_read() -> None:
    assert decode(answer(entry(squid_port=..., cache_port=6081))).caches[0].port == 6081


def test_a_name_that_ends_with_the_dot_of_dns_costs_no_cache() -> None:
    assert len(decode(answer(entry(hostname="sq1.example.org."))).caches) == 1


@pytest.mark.parametrize(
    "changes",
    [{"local": False}, {"local": "true"}, {"local": 1}, {"local": ...}],
)
def test_local_is_what_is_true_and_nothing_else(changes: dict[str, object]) -> None:
    assert decode(answer(entry(**changes))).caches[0].local is False


@pytest.mark.parametrize("value", [None, "fast", [], {}, ..., "nan", "1e999", 10**400])
def test_a_number_that_is_only_shown_costs_no_cache(value: object) -> None:
    (cache,) = decode(answer(entry(load=value, max_load=value, distance=value))).caches
    assert (cache.load, cache.max_load, cache.distance) == (0.0, 0.0, None)


@pytest.mark.parametrize(("latitude", "longitude"), [(91, 0), (-91, 0), (0, 181), (0, -181), (0, None)])
def test_a_place_that_is_not_on_the_globe_costs_no_cache_and_is_none(
    latitude: float, longitude: float | None
) -> None:
    (cache,) = decode(answer(entry(geo_data={"latitude": latitude, "longitude": longitude}))).caches
    assert cache.geo == {}


HOSTILE_TEXTS = [
    "$(reboot)",
    "a;b",
    'a"b',
    "a'b",
    "a b",
    "a\nb",
    "`id`",
    "http://a",
    "a|b",
    "\ud800",
    "",
    "é",
    7,
    True,
    [],
]


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
@pytest.mark.parametrize("key", ["public_ip", "private_ip"])
def test_a_hostile_entry_is_refused_by_name_and_its_neighbours_are_kept(key: str, text: object) -> None:
    listing = decode(answer(entry(hostname="a"), entry(**{key: text}), entry(hostname="b")))
    assert [cache.hostname for cache in listing.caches] == ["a", "b"]
    (reason,) = listing.refused
    assert reason.startswith("entry 1: ")
    assert key in reason
    assert reason.isprintable()


@pytest.mark.parametrize("text", [*HOSTILE_TEXTS, ..., None, "1234", "sq-.example.org", "caché.test"])
def test_a_name_that_is_none_costs_no_cache_and_is_replaced_by_the_address(text: object) -> None:
    inside = entry(hostname=text, public_ip=None, private_ip="10.0.0.1")
    listing = decode(answer(entry(hostname=text), inside))
    assert [cache.hostname for cache in listing.caches] == ["206.12.48.10", "10.0.0.1"]
    assert listing.refused == ()


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "x",
        7,
        [],
        {},
        entry(squid_port=...),
        entry(squid_port=0),
        entry(squid_port="3128; id"),
        entry(squid_port=3128.5),
        entry(squid_port=True),
        entry(public_ip=None),
        entry(public_ip="2001:db8::1"),
        entry(public_ip="206.12.48.10:3128"),
    ],
)
def test_an_entry_that_nobody_could_use_is_refused_alone(bad: object) -> None:
    listing = decode(answer(bad, entry()))
    assert (len(listing.caches), len(listing.refused)) == (1, 1)


def test_entries_are_ranked_by_their_number_wherever_they_stand() -> None:
    body = json.dumps({str(n): entry(hostname=f"sq{n}") for n in (10, 2, 0)}).encode()
    assert [cache.hostname for cache in decode(body).caches] == ["sq0", "sq2", "sq10"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"1",
        b'"0"',
        b'{"error": "no"}',
        b"\xff",
        b'{"-1": {}}',
        b"[" * 50000,
        "{}".encode("utf-16"),
    ],
)
def test_what_is_no_listing_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(InvalidListing):
        decode(body)


@PROPERTY
@given(
    st.binary(max_size=100)
    | st.dictionaries(
        st.integers(0, 9).map(str),
        st.dictionaries(
            st.sampled_from([*OLD_ENTRY, "upstream", "cache_type", "distance", "local"]),
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text()
            | st.lists(st.text(), max_size=2)
            | IPV4,
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_a_listing_of_inert_caches_or_refused(body: bytes) -> None:
    try:
        listing = decode(body)
    except InvalidListing:
        return
    for cache in listing.caches:
        assert all(
            re.fullmatch(r"[A-Za-z0-9._-]+", text)
            for text in (cache.hostname, cache.public_ip, cache.private_ip)
            if text
        )
