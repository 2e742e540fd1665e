"""What every generation of agents says is read; what could hurt somebody further on is refused by name."""

import dataclasses
import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_common.errors import InvalidHeartbeat
from shoal_common.heartbeat import (
    DEFAULT_PORT,
    MAX_BYTES,
    MAX_RATE,
    AgentState,
    CacheType,
    Heartbeat,
    Metrics,
    Upstream,
    decode,
)
from tests.common.properties import HOST_NAMES, IPV4, PORTS, PROPERTY

UUID = "6c1b0c1e8a3f11e29e96fa163e0c2a11"
AGENT_1_0: dict[str, Any] = {
    "uuid": UUID,
    "hostname": "sq1.example.org",
    "squid_port": 3128,
    "verified": False,
    "max_load": 1125000,
    "private_ip": "10.1.2.3",
    "external_ip": "206.12.48.10",
    "timestamp": 1700000000.12,
    "load": 87.458,
}


def message(**changes: object) -> bytes:
    """What agents 1.0.2 send, with `changes`; a key set to `...` is left out."""
    return json.dumps({k: v for k, v in (AGENT_1_0 | changes).items() if v is not ...}).encode()


def refusal(body: bytes) -> InvalidHeartbeat:
    with pytest.raises(InvalidHeartbeat) as caught:
        decode(body)
    return caught.value


def read_or_refused(body: bytes) -> Heartbeat | str:
    """The heartbeat, or the field for which it is refused in one short line."""
    try:
        return decode(body)
    except InvalidHeartbeat as error:
        told = str(error)
        field = error.field
    assert told.isprintable()
    assert len(told) < 300
    return field


# --- every generation -------------------------------------------------------------------------------


def test_agents_0_1_listen_on_the_usual_port_because_their_message_has_none() -> None:
    heard = decode(
        b'{"uuid":"6c1b0c1e-8a3f-11e2-9e96-fa163e0c2a11","hostname":"sq1","private_ip":"10.1.2.3",'
        b'"external_ip":"206.12.48.10","timestamp":1350000000.5,"load":3}'
    )
    assert heard == Heartbeat(
        "6c1b0c1e-8a3f-11e2-9e96-fa163e0c2a11",
        "sq1",
        DEFAULT_PORT,
        1350000000.5,
        3.0,
        private_ip="10.1.2.3",
        external_ip="206.12.48.10",
    )
    assert DEFAULT_PORT == 3128


def test_agents_0_2_to_0_4_glue_the_port_to_the_addresses() -> None:
    heard = decode(
        b'{"uuid":"6c1b0c1e-8a3f-11e2-9e96-fa163e0c2a11","hostname":"sq1","public_ip":"206.12.48.10:3129",'
        b'"private_ip":"10.1.2.3:3129","timestamp":1363800000.12,"load":87}'
    )
    assert (heard.public_ip, heard.private_ip, heard.port) == ("206.12.48.10", "10.1.2.3", 3129)
    assert (heard.load, heard.max_load, heard.upstream) == (87.0, None, Upstream.BOTH)


def test_agents_0_5_0_glue_the_port_to_the_private_address_and_say_squid_port_too() -> None:
    heard = decode(message(private_ip="10.1.2.3:3128", squid_port=3128, max_load=...))
    assert (heard.private_ip, heard.port) == ("10.1.2.3", 3128)


def test_agents_0_6_to_0_8_say_squid_port() -> None:
    heard = decode(
        b'{"uuid": "6c1b0c1e8a3f11e29e96fa163e0c2a11", "hostname": "sq1.example.org", "squid_port": 3128, '
        b'"public_ip": "206.12.48.10", "private_ip": "10.1.2.3", "timestamp": 1380000000.12, "load": 87}'
    )
    assert heard == Heartbeat(
        UUID, "sq1.example.org", 3128, 1380000000.12, 87.0, public_ip="206.12.48.10", private_ip="10.1.2.3"
    )


@pytest.mark.parametrize("access", ["True", "False", True, False, None])
def test_agents_0_9_say_their_access_in_words_or_truth_values(access: object) -> None:
    body = message(
        global_access=access, domain_access=access, max_load="122000", public_ip="206.12.48.10", load=0
    )
    heard = decode(body)
    assert (heard.max_load, heard.load, heard.public_ip) == (122000.0, 0.0, "206.12.48.10")


def test_agents_1_0_2_are_read() -> None:
    assert decode(message()) == Heartbeat(
        UUID,
        "sq1.example.org",
        3128,
        1700000000.12,
        87.458,
        private_ip="10.1.2.3",
        external_ip="206.12.48.10",
        max_load=1125000.0,
    )


def test_the_newest_agents_say_cache_port_type_and_upstream() -> None:
    heard = decode(
        b'{"uuid": "6c1b0c1e8a3f11e29e96fa163e0c2a11", "hostname": "v1.example.org", "cache_port": 6081, '
        b'"cache_type": "varnish", "verified": false, "max_load": 112500, "upstream": "cvmfs", '
        b'"private_ip": "10.1.2.4", "external_ip": "206.12.48.11", "timestamp": 1765000000.12, "load": 0.0}'
    )
    assert (heard.port, heard.cache_type, heard.upstream) == (6081, CacheType.VARNISH, Upstream.CVMFS)
    assert (heard.state, heard.interval, heard.agent) == (AgentState.UP, None, None)


def test_a_squid_called_cache_for_some_days_in_2025_is_a_squid() -> None:
    assert decode(message(cache_type="cache")).cache_type is CacheType.SQUID


def test_squid_port_with_cache_type_and_no_upstream_is_read() -> None:
    heard = decode(message(cache_type="varnish", squid_port=6081))
    assert (heard.cache_type, heard.upstream, heard.port) == (CacheType.VARNISH, Upstream.BOTH, 6081)


@pytest.mark.parametrize("key", ["squid_port", "cache_port"])
@pytest.mark.parametrize("port", [3128, "3128"])
def test_a_port_may_be_a_number_or_the_text_of_a_configuration_file(key: str, port: object) -> None:
    assert decode(message(**({"squid_port": ...} | {key: port}))).port == 3128


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (122000, 122000.0),
        (112500.5, 112500.5),
        ("122000", 122000.0),
        (" 122000 ", 122000.0),
        ("-112", None),
        (-112, None),
        (0, None),
        ("0", None),
        (None, None),
        (..., None),
        ("", None),
        (" ", None),
        ("122000 ; kB/s", None),
        ("1 Gb/s", None),
        ("1e6", None),
        ("0x10", None),
        ("١٢", None),
        ("1" * 400, None),
        (483183820687, None),
        ("483183820687", None),
        (10**400, None),
    ],
)
def test_a_capacity_that_cannot_be_true_is_not_known(said: object, kept: float | None) -> None:
    assert decode(message(max_load=said)).max_load == kept


@pytest.mark.parametrize("key", ["public_ip", "private_ip", "external_ip"])
def test_any_one_address_is_enough(key: str) -> None:
    absent: dict[str, object] = {"public_ip": None, "private_ip": ..., "external_ip": ...}
    heard = decode(message(**(absent | {key: "198.51.100.7"})))
    assert getattr(heard, key) == "198.51.100.7"


def test_an_ipv6_address_is_enough_and_is_kept_in_its_canonical_form() -> None:
    assert decode(message(private_ip=..., external_ip=..., ipv6="2001:DB8:0::7")).ipv6 == "2001:db8::7"


def test_the_dot_that_ends_a_name_from_dns_is_dropped() -> None:
    assert decode(message(hostname="sq1.example.org.")).hostname == "sq1.example.org"


@pytest.mark.parametrize("name", ["sq1", "ip-10-0-0-1", "SQ_1.cloud", "206.12.48.10", "3com.example.org"])
def test_names_as_clouds_give_them_are_names(name: str) -> None:
    assert decode(message(hostname=name)).hostname == name


@pytest.mark.parametrize("name", ["1001", "123456789012", "12345."])
def test_a_name_of_digits_alone_as_containers_have_costs_no_squid_and_gives_way_to_the_address(
    name: str,
) -> None:
    assert decode(message(hostname=name)).hostname == "206.12.48.10"
    inside = message(hostname=name, public_ip=..., external_ip=..., private_ip="10.1.2.3")
    assert decode(inside).hostname == "10.1.2.3"


@pytest.mark.parametrize("timestamp", [0, -1.5, 1e12, 4102444800.0, 1e308])
def test_a_wrong_clock_is_no_reason_to_refuse(timestamp: float) -> None:
    assert decode(message(timestamp=timestamp)).timestamp == timestamp


def test_unknown_keys_are_ignored_whatever_they_hold() -> None:
    assert decode(message(verification="auto", **{"\ud800": [{"load": "\u0000"}]})) == decode(message())


def test_an_address_without_a_port_beside_one_that_has_it_shares_that_port() -> None:
    body = message(squid_port=..., external_ip="206.12.48.10", private_ip="10.1.2.3:8080")
    assert decode(body).port == 8080


# --- refusals name the field ------------------------------------------------------------------------

HOSTILE = [
    "$(reboot)",
    "`id`",
    "a;b",
    "a b",
    "a|b",
    "a&b",
    "a>b",
    'a"b',
    "a'b",
    "a\\b",
    "a\nb",
    "a\n",
    "\na",
    "a\0b",
    "a\x1b[31m",
    "a\x7f",
    "a\x85b",
    "a\u2028b",
    "</script>",
    "<b>",
    "a/b",
    "a%0ab",
    "a,b",
    "a(b)",
    "{a}",
    "${IFS}",
    "#a",
    "a=b",
    "~a",
    "*",
    "\ud800",
    "\u0430.org",
    "٣.org",
    "é",
    "-rf",
    ".a",
    " ",
    "a" * 300,
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "key", ["uuid", "hostname", "public_ip", "private_ip", "external_ip", "ipv6", "cache_type", "upstream"]
)
def test_text_that_a_shell_or_a_browser_would_read_is_refused_by_name(key: str, text: str) -> None:
    assert refusal(message(**{key: text})).field == key


@pytest.mark.parametrize("key", ["uuid", "hostname", "cache_type", "upstream"])
def test_a_name_that_is_empty_is_refused(key: str) -> None:
    assert refusal(message(**{key: ""})).field == key


@pytest.mark.parametrize("blank", ["", "0.0.0.0", "0.0.0.0:3128"])
@pytest.mark.parametrize("key", ["public_ip", "private_ip", "external_ip"])
def test_an_address_that_is_left_blank_is_not_there(key: str, blank: str) -> None:
    assert decode(message(**{key: blank})) == decode(message(**{key: ...}))


@pytest.mark.parametrize("blank", ["", "::"])
def test_an_ipv6_address_that_is_left_blank_is_not_there(blank: str) -> None:
    assert decode(message(ipv6=blank)) == decode(message())


def test_a_message_with_blank_addresses_alone_is_refused() -> None:
    body = message(public_ip="0.0.0.0", private_ip="", external_ip="0.0.0.0:3128", ipv6="::")
    assert "one is needed" in refusal(body).problem


@pytest.mark.parametrize(
    "tail", ["; reboot", "$(id)", "\n", " ", ":", ":0", ":65536", ":3128:1", ":http", ":٣", ":-1"]
)
def test_nothing_but_a_port_may_follow_an_address(tail: str) -> None:
    assert refusal(message(private_ip="10.1.2.3" + tail)).field == "private_ip"


@pytest.mark.parametrize(
    "address",
    [
        "255.255.255.255",
        "224.0.0.1",
        "10.1.2",
        "10.1.2.256",
        "010.1.2.3",
        "0x7f.1",
        "localhost",
        "::1",
        7,
    ],
)
def test_an_address_that_no_squid_can_have_is_refused_by_name(address: object) -> None:
    assert refusal(message(external_ip=address)).field == "external_ip"


@pytest.mark.parametrize(
    "address", ["fe80::1", "fe80::1%eth0", "2001:db8::1%1", "ff02::1", "::ffff:10.0.0.1", "x"]
)
def test_an_ipv6_address_that_means_nothing_elsewhere_is_refused(address: str) -> None:
    assert refusal(message(ipv6=address)).field == "ipv6"


@pytest.mark.parametrize(
    "name", ["10.1.2.3.4", "999.1.1.1", "1" * 64, "sq1:3128", "2001:db8::1", "a..b", "a..", "a-.org"]
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    assert refusal(message(hostname=name)).field == "hostname"


@pytest.mark.parametrize("key", ["uuid", "hostname", "timestamp", "load"])
@pytest.mark.parametrize("value", [..., None, [], {}, True])
def test_what_every_agent_sends_must_be_there_in_its_type(key: str, value: object) -> None:
    assert refusal(message(**{key: value})).field == key


@pytest.mark.parametrize(
    "key", ["public_ip", "private_ip", "external_ip", "ipv6", "cache_type", "upstream", "state", "agent"]
)
@pytest.mark.parametrize("value", [1, 1.5, True, [], {}, ["10.0.0.1"]])
def test_text_of_another_type_is_refused_by_name(key: str, value: object) -> None:
    assert refusal(message(**{key: value})).field == key


@pytest.mark.parametrize("value", ["87", "", [87], {}, False])
@pytest.mark.parametrize("key", ["load", "timestamp"])
def test_a_number_of_another_type_is_refused_by_name(key: str, value: object) -> None:
    assert refusal(message(**{key: value})).field == key


METRIC_KEYS = [field.name for field in dataclasses.fields(Metrics)]


@pytest.mark.parametrize("key", METRIC_KEYS)
def test_a_metric_is_read_where_it_is_said(key: str) -> None:
    assert getattr(decode(message(**{key: 250})).metrics, key) == 250
    assert getattr(decode(message(**{key: None})).metrics, key) is None


@pytest.mark.parametrize("value", ["87", "", [87], {}, False, -1, -0.5, 1e10])
@pytest.mark.parametrize("key", METRIC_KEYS)
def test_a_metric_that_is_no_sensible_number_is_refused_by_name(key: str, value: object) -> None:
    assert refusal(message(**{key: value})).field == key


@pytest.mark.parametrize("key", METRIC_KEYS)
def test_a_metric_that_is_not_finite_is_refused_by_name(key: str) -> None:
    assert refusal(message()[:-1] + f', "{key}": 1e999}}'.encode()).field == key


def test_metrics_that_are_not_known_are_not_sent() -> None:
    assert not set(METRIC_KEYS) & set(json.loads(decode(message()).encode()))


@pytest.mark.parametrize("value", [[1], {}, True])
def test_a_capacity_that_is_no_number_is_refused_by_name(value: object) -> None:
    assert refusal(message(max_load=value)).field == "max_load"


@pytest.mark.parametrize(
    "value", [0, -1, 65536, 10**30, 3128.0, True, "", "0", "65536", "3128/tcp", " 3128", [3128], {}]
)
@pytest.mark.parametrize("key", ["squid_port", "cache_port"])
def test_a_port_that_is_none_is_refused_by_name(key: str, value: object) -> None:
    assert refusal(message(**({"squid_port": ...} | {key: value}))).field == key


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
@pytest.mark.parametrize("key", ["load", "timestamp", "max_load", "squid_port", "x"])
def test_numbers_that_json_does_not_know_are_refused(key: str, number: bytes) -> None:
    body = message(**{key: "@"}).replace(b'"@"', number)
    assert number.decode() in refusal(body).problem


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1" + b"0" * 400])
@pytest.mark.parametrize("key", ["load", "timestamp"])
def test_numbers_beyond_all_measure_are_refused_by_name(key: str, number: bytes) -> None:
    assert refusal(message(**{key: "@"}).replace(b'"@"', number)).field == key


def test_a_number_of_ten_thousand_digits_is_refused() -> None:
    assert refusal(message(load="@").replace(b'"@"', b"9" * 10000)).field == "message"


@pytest.mark.parametrize("load", [-1, -0.001, MAX_RATE * 1.01])
def test_a_load_that_no_interface_can_have_is_refused_by_name(load: float) -> None:
    assert refusal(message(load=load)).field == "load"


@pytest.mark.parametrize("interval", [0, -30, 0.01, 86401, "30", True])
def test_an_interval_that_no_agent_keeps_is_refused_by_name(interval: object) -> None:
    assert refusal(message(interval=interval)).field == "interval"


def test_a_message_without_any_address_is_refused() -> None:
    assert "one is needed" in refusal(message(private_ip=..., external_ip=None)).problem


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[]",
        b"null",
        b'"x"',
        b"1",
        b"{",
        b'{"uuid"}',
        b"\xff\xfe",
        b'{"hostname": "\xe9"}',
        b"\xef\xbb\xbf{}",
        b'{"a": "\n"}',
        message() + b"{}",
        "{}".encode("utf-16"),
        b"\0" * 100,
    ],
)
def test_what_is_no_json_object_is_refused_as_a_message(body: bytes) -> None:
    assert refusal(body).field == "message"


def test_a_message_of_64_kib_is_read_and_one_byte_more_is_not() -> None:
    room = MAX_BYTES - len(message(filler=""))
    assert MAX_BYTES == 65536
    assert decode(message(filler="x" * room)) == decode(message())
    assert refusal(message(filler="x" * (room + 1))).field == "message"


@pytest.mark.parametrize("depth", [10, 900, 980, 990, 1000, 5000, 30000])
@pytest.mark.parametrize("key", ["x", "load", "cache_type", "squid_port", "public_ip", "max_load"])
def test_nesting_of_any_depth_is_read_or_refused(key: str, depth: int) -> None:
    body = message(**{key: "@"}).replace(b'"@"', b"[" * depth + b"]" * depth)
    assert read_or_refused(body) in (decode(message()), key, "message")


def test_a_refusal_quotes_hostile_text_so_that_one_safe_log_line_remains() -> None:
    error = refusal(message(hostname="\x1b[2J\nforged: line\u2028\ud800" + "x" * 5000))
    assert str(error).isascii()
    assert str(error).isprintable()
    assert len(str(error)) < 150


# --- what holds for all messages --------------------------------------------------------------------

INERT = re.compile(r"[A-Za-z0-9._:+-]{1,253}")
TEXTS = st.text() | st.sampled_from(HOSTILE) | st.text("abc019.-_:%$`\"'\n ", max_size=12) | IPV4 | HOST_NAMES
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
KEYS = [*AGENT_1_0, "cache_port", "public_ip", "ipv6", "cache_type", "upstream", "state", "interval", "agent"]


def check_inert_or_refused(body: bytes) -> None:
    heard = read_or_refused(body)
    if isinstance(heard, str):
        return
    for field in dataclasses.fields(heard):
        value = getattr(heard, field.name)
        if isinstance(value, str):
            assert INERT.fullmatch(value), field.name
        elif isinstance(value, float):
            assert math.isfinite(value), field.name
    assert 1 <= heard.port <= 65535
    assert heard.load >= 0
    assert heard.max_load is None or heard.max_load > 0


@PROPERTY
@given(st.binary(max_size=200))
def test_any_bytes_are_an_inert_heartbeat_or_refused(body: bytes) -> None:
    check_inert_or_refused(body)


@PROPERTY
@given(JSON_VALUES)
def test_any_json_is_an_inert_heartbeat_or_refused(value: object) -> None:
    check_inert_or_refused(json.dumps(value).encode())


@PROPERTY
@given(st.dictionaries(st.sampled_from(KEYS), JSON_VALUES | st.just(...), max_size=3))
def test_a_heartbeat_with_some_keys_spoilt_is_inert_or_refused(changes: dict[str, object]) -> None:
    check_inert_or_refused(message(**changes))


@PROPERTY
@given(st.integers(0, len(message()) - 1), st.integers(0, 255))
def test_a_heartbeat_with_one_byte_spoilt_is_inert_or_refused(place: int, byte: int) -> None:
    body = bytearray(message())
    body[place] = byte
    check_inert_or_refused(bytes(body))


TOKENS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", fullmatch=True)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
RATES = st.none() | st.floats(0, MAX_RATE)
FILES = st.none() | st.integers(0, 10**9)
METRICS = st.builds(Metrics, RATES, RATES, RATES, RATES, RATES, FILES, FILES, RATES)
HEARTBEATS = st.builds(
    Heartbeat,
    uuid=TOKENS,
    hostname=HOST_NAMES,
    port=PORTS,
    timestamp=FINITE,
    load=st.floats(0, MAX_RATE),
    public_ip=st.none() | IPV4,
    private_ip=IPV4,
    external_ip=st.none() | IPV4,
    ipv6=st.none() | st.just("2001:db8::1"),
    max_load=st.none() | st.integers(1, 10**9).map(float),
    cache_type=st.sampled_from(CacheType),
    upstream=st.sampled_from(Upstream),
    state=st.sampled_from(AgentState),
    interval=st.none() | st.floats(0.1, 86400),
    agent=st.none() | TOKENS,
    metrics=METRICS,
)


@PROPERTY
@given(HEARTBEATS)
def test_what_is_encoded_is_decoded_to_the_same(heartbeat: Heartbeat) -> None:
    assert decode(heartbeat.encode()) == heartbeat


@PROPERTY
@given(HEARTBEATS)
def test_every_generation_of_servers_finds_its_required_keys_in_our_message(heartbeat: Heartbeat) -> None:
    sent = json.loads(heartbeat.encode())
    assert isinstance(sent["uuid"], str)
    assert isinstance(sent["hostname"], str)
    assert type(sent["squid_port"]) is int
    assert sent["squid_port"] == sent["cache_port"]
    assert isinstance(sent["timestamp"], float)
    assert isinstance(sent["load"], float)
    assert sent["verified"] is False
    assert sent["cache_type"] in ("squid", "varnish")
    assert sent["upstream"] in ("both", "cvmfs", "frontier")
    assert None not in sent.values()
    assert type(sent.get("max_load", 1)) is int


@pytest.mark.parametrize("capacity", [0.3, 0.5])
def test_a_tiny_capacity_does_not_turn_into_none_on_the_way(capacity: float) -> None:
    heartbeat = Heartbeat("a", "h", 1, 0.0, 0.0, private_ip="10.0.0.1", max_load=capacity)
    assert decode(heartbeat.encode()).max_load is not None


@pytest.mark.parametrize(
    ("upstream", "service", "answer"),
    [
        (Upstream.BOTH, Upstream.CVMFS, True),
        (Upstream.CVMFS, Upstream.CVMFS, True),
        (Upstream.CVMFS, Upstream.FRONTIER, False),
        (Upstream.FRONTIER, Upstream.BOTH, True),
    ],
)
def test_a_cache_serves_what_it_can_reach(upstream: Upstream, service: Upstream, answer: bool) -> None:
    assert upstream.serves(service) is answer


@pytest.mark.parametrize("key", ["public_ip", "external_ip"])
@pytest.mark.parametrize("address", ["10.1.2.3", "100.64.5.6", "192.168.1.1", "172.31.0.1"])
def test_an_address_that_no_outsider_can_reach_counts_as_private(key: str, address: str) -> None:
    message = {"uuid": "u", "hostname": "a.b", "squid_port": 3128, "timestamp": 1, "load": 1, key: address}
    beat = decode(json.dumps(message).encode())
    assert (beat.public_ip, beat.external_ip, beat.private_ip) == (None, None, address)
