"""What a probe makes of answers, and of peers that refuse, stay silent, drip, lie or flood."""

import base64
import contextlib
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_common.hosts import HostPort
from shoal_common.probe import MAX_BODY, Outcome, Reply, Service, Target, judge, probe
from tests.common.properties import PROPERTY

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC
REPOSITORY = "atlas.cern.ch"
MANIFEST = Target.cvmfs(f"http://origin.example.org/cvmfs/{REPOSITORY}/.cvmfspublished")
WHITELIST = Target.cvmfs(f"http://origin.example.org/cvmfs/{REPOSITORY}/.cvmfswhitelist")
FRONTIER = Target.frontier("http://frontier.example.org:8000/atlr")
MANIFEST_BODY = b"C7b1\nB4096\nRd41d\nD240\nS12\nNatlas.cern.ch\n--\n0123abcd\n\xff\xfe\x00binary"
WHITELIST_BODY = b"20231101000000\nE20231201000000\nNatlas.cern.ch\nAA:BB # key\n--\n0123\n\xff\x00"
FRONTIER_BODY = (
    b'<?xml version="1.0"?><frontier version="3.42" xmlversion="1.0"><transaction payloads="1">'
    b'<payload type="frontier_request" version="1" encoding="BLOBzip5"><data>eJw=</data>'
    b'<quality error="0" md5="0" records="1"/></payload></transaction></frontier>'
)
VIA = {"via": "1.1 sq1 (squid/5.9)"}


def verdict_on(
    body: bytes = MANIFEST_BODY,
    target: Target = MANIFEST,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    proxied: bool = True,
    now: float = NOW,
) -> Outcome:
    return judge(Reply(status, VIA if headers is None else headers, body), target, proxied=proxied, now=now)[
        0
    ]


# --- the rules --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "body"), [(MANIFEST, MANIFEST_BODY), (WHITELIST, WHITELIST_BODY), (FRONTIER, FRONTIER_BODY)]
)
def test_the_object_from_a_cache_is_good(target: Target, body: bytes) -> None:
    assert verdict_on(body, target) is Outcome.GOOD


@pytest.mark.parametrize("name", ["via", "cache-status", "x-cache", "x-cache-lookup", "x-varnish"])
def test_each_sign_of_a_cache_is_enough(name: str) -> None:
    assert verdict_on(headers={name: "x"}) is Outcome.GOOD


def test_the_object_without_a_sign_of_a_cache_is_wrong() -> None:
    assert verdict_on(headers={"server": "Apache"}) is Outcome.WRONG


def test_straight_from_the_origin_no_sign_of_a_cache_is_needed() -> None:
    assert verdict_on(headers={}, proxied=False) is Outcome.GOOD


@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_refusal_is_denied(status: int) -> None:
    assert (
        verdict_on(b"<html>", status=status, headers={"x-squid-error": "ERR_ACCESS_DENIED 0"})
        is Outcome.DENIED
    )


def test_a_refusal_names_the_error_of_squid() -> None:
    reply = Reply(403, {"x-squid-error": "ERR_ACCESS_DENIED 0"}, b"")
    assert "403 ERR_ACCESS_DENIED" in judge(reply, MANIFEST, proxied=True, now=NOW)[1]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_error_is_the_way_to_the_origin(status: int) -> None:
    assert verdict_on(b"", status=status) is Outcome.UPSTREAM


@pytest.mark.parametrize("status", [200, 404, 500, 503])
def test_an_error_page_of_squid_is_the_way_to_the_origin_whatever_its_status(status: int) -> None:
    assert verdict_on(status=status, headers={"x-squid-error": "ERR_DNS_FAIL 0"}) is Outcome.UPSTREAM


@pytest.mark.parametrize("status", [204, 206, 301, 302, 304, 400, 404, 500])
def test_any_other_status_is_wrong(status: int) -> None:
    assert verdict_on(status=status) is Outcome.WRONG


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Please log in to atlas.cern.ch</html>",
        b"Nice to see you, atlas.cern.ch!\n",
        MANIFEST_BODY.replace(b"Natlas.cern.ch", b"Natlas.cern.ch.example.org"),
        MANIFEST_BODY.replace(b"Natlas.cern.ch", b"Ncms.cern.ch"),
        MANIFEST_BODY.replace(b"C7b1\n", b""),
        b"C7b1\n--\nNatlas.cern.ch\n",
        WHITELIST_BODY,
    ],
)
def test_a_body_that_is_not_the_manifest_asked_for_is_wrong(body: bytes) -> None:
    assert verdict_on(body) is Outcome.WRONG


def test_a_manifest_cut_off_before_its_signature_is_wrong() -> None:
    assert verdict_on(MANIFEST_BODY.partition(b"--")[0]) is Outcome.WRONG


@pytest.mark.parametrize(
    "body",
    [
        MANIFEST_BODY,
        WHITELIST_BODY.replace(b"Natlas.cern.ch", b"Ncms.cern.ch"),
        WHITELIST_BODY.replace(b"E20231201000000\n", b""),
        WHITELIST_BODY.replace(b"E20231201000000", b"Eventually"),
        WHITELIST_BODY.partition(b"--")[0],
    ],
)
def test_a_body_that_is_not_the_whitelist_asked_for_is_wrong(body: bytes) -> None:
    assert verdict_on(body, WHITELIST) is Outcome.WRONG


@pytest.mark.parametrize(("later", "outcome"), [(0.0, Outcome.GOOD), (20 * 86400.0, Outcome.WRONG)])
def test_a_whitelist_is_good_until_it_expires(later: float, outcome: Outcome) -> None:
    assert verdict_on(WHITELIST_BODY, WHITELIST, now=NOW + later) is outcome


@pytest.mark.parametrize(
    "body", [b"", b"<html>frontier</html>", MANIFEST_BODY, FRONTIER_BODY.replace(b'error="0"', b'error="1"')]
)
def test_a_body_that_is_no_good_frontier_reply_is_wrong(body: bytes) -> None:
    assert verdict_on(body, FRONTIER) is Outcome.WRONG


@pytest.mark.parametrize("status", [200, 403, 503])
def test_what_a_hostile_proxy_says_cannot_forge_lines_in_a_log(status: int) -> None:
    reply = Reply(status, {"x-squid-error": "\x1b[2J\r\n\tforged<script>" + "x" * 60000}, b"")
    reason = judge(reply, MANIFEST, proxied=True, now=NOW)[1]
    assert reason.isprintable()
    assert "<" not in reason
    assert len(reason) < 300


@PROPERTY
@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["via", "x-squid-error", "x-cache", "server"]), st.text(max_size=20)),
    st.binary(max_size=100) | st.sampled_from([MANIFEST_BODY, WHITELIST_BODY, FRONTIER_BODY]),
    st.sampled_from([MANIFEST, WHITELIST, FRONTIER]),
)
def test_any_reply_is_judged_and_only_the_object_is_good(
    status: int, headers: dict[str, str], body: bytes, target: Target
) -> None:
    expected = {MANIFEST: MANIFEST_BODY, WHITELIST: WHITELIST_BODY, FRONTIER: FRONTIER_BODY}[target]
    outcome = verdict_on(body, target, status=status, headers=headers)
    assert outcome is not Outcome.GOOD or (status == 200 and body == expected)


def test_a_frontier_query_decodes_to_its_sql() -> None:
    assert FRONTIER.service is Service.FRONTIER
    address, _, query = FRONTIER.url.rpartition("/Frontier/")
    assert address == "http://frontier.example.org:8000/atlr"
    fields = parse_qs(query, strict_parsing=True)
    assert fields["type"] == ["frontier_request:1:DEFAULT"]
    assert fields["encoding"] == ["BLOBzip5"]
    plain = fields["p1"][0].translate(str.maketrans(".-_", "+/="))
    assert zlib.decompress(base64.b64decode(plain, validate=True)) == b"SELECT 1 FROM DUAL"


def test_the_slash_that_ends_a_servlet_address_makes_no_other_query() -> None:
    assert Target.frontier("http://frontier.example.org:8000/atlr/") == FRONTIER


# --- real peers -------------------------------------------------------------------------------------

Answer = Callable[[socket.socket, bytes], None]


@contextlib.contextmanager
def peer(answer: Answer, host: str = "127.0.0.1") -> Iterator[HostPort]:
    """A server that reads one request after another and leaves each connection to `answer`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        thread = threading.Thread(target=_serve, args=(listener, answer))
        thread.start()
        try:
            yield HostPort(host, listener.getsockname()[1])
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            assert not thread.is_alive()


def _serve(listener: socket.socket, answer: Answer) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                request = b""
                while not request.endswith(b"\r\n\r\n") and (part := connection.recv(4096)):
                    request += part
                answer(connection, request)


def say(reply: bytes) -> Answer:
    return lambda connection, _: connection.sendall(reply)


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def drip(text: bytes) -> Answer:
    """One byte each 0.2 s, for as long as somebody listens (5 s at most)."""

    def answer(connection: socket.socket, _: bytes) -> None:
        end = time.monotonic() + 5
        connection.settimeout(0.2)
        for byte in text:
            connection.sendall(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                if not connection.recv(1):
                    return
            if time.monotonic() > end:
                return

    return answer


def hold(connection: socket.socket, _: bytes) -> None:
    """Say nothing until the other side hangs up."""
    connection.recv(1)


GOOD_REPLY = http(MANIFEST_BODY, "200 OK", "Via: 1.1 sq1 (squid)")


def test_a_cache_that_serves_the_object_is_good() -> None:
    with peer(say(GOOD_REPLY)) as proxy:
        verdict = probe(proxy, MANIFEST, timeout=5)
    assert verdict.good
    assert verdict.seconds >= 0


def test_the_request_is_in_absolute_form_and_says_who_asks() -> None:
    requests: list[bytes] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        requests.append(request)
        connection.sendall(GOOD_REPLY)

    with peer(answer) as proxy:
        probe(proxy, MANIFEST, timeout=5)
        probe(proxy, MANIFEST, timeout=5, fresh=True)
        probe(proxy, FRONTIER, timeout=5)
    assert requests[0].startswith(f"GET {MANIFEST.url} HTTP/1.1\r\n".encode())
    assert b"\r\nHost: origin.example.org\r\n" in requests[0]
    assert b"\r\nUser-Agent: shoal/" in requests[0]
    assert b"Cache-Control" not in requests[0]
    assert b"\r\nCache-Control: max-age=0\r\n" in requests[1]
    assert b"\r\nX-Frontier-Id: shoal " in requests[2]


def test_an_origin_is_asked_by_path() -> None:
    requests: list[bytes] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        requests.append(request)
        connection.sendall(http(MANIFEST_BODY))

    with peer(answer) as origin:
        verdict = probe(None, Target.cvmfs(f"http://{origin}/cvmfs/{REPOSITORY}/.cvmfspublished"), timeout=5)
    assert verdict.good
    assert requests[0].startswith(f"GET /cvmfs/{REPOSITORY}/.cvmfspublished HTTP/1.1\r\n".encode())
    assert f"\r\nHost: {origin}\r\n".encode() in requests[0]


def test_a_closed_port_is_reported_as_refused() -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else can take the port meanwhile
        bound.bind(("127.0.0.1", 0))
        place = HostPort("127.0.0.1", bound.getsockname()[1])
        verdict = probe(place, MANIFEST, timeout=5)
    assert verdict.outcome is Outcome.UNREACHABLE
    assert verdict.reason == f"{place} refused the connection"


def test_a_host_that_is_not_known_is_unreachable() -> None:
    verdict = probe(HostPort("squid.invalid", 3128), MANIFEST, timeout=5)
    assert verdict.outcome is Outcome.UNREACHABLE
    assert verdict.reason.startswith("squid.invalid:3128: ")


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".org"])
def test_a_host_that_can_be_no_name_is_unreachable_and_no_crash(host: str) -> None:
    assert (
        probe(None, Target.cvmfs(f"http://{host}/cvmfs/x/.cvmfspublished"), timeout=5).outcome
        is Outcome.UNREACHABLE
    )


def test_a_peer_that_says_nothing_costs_the_deadline_and_no_more() -> None:
    with peer(hold) as proxy:
        verdict = probe(proxy, MANIFEST, timeout=0.3)
    assert verdict.outcome is Outcome.UNREACHABLE
    assert verdict.reason == f"{proxy} did not answer within 0.3 s"
    assert 0.25 < verdict.seconds < 3


def test_a_peer_that_does_not_even_accept_costs_the_deadline_and_no_more() -> None:
    with contextlib.ExitStack() as open_until_end:
        listener = open_until_end.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # the kernel drops further connection requests once its queue is full
            filler = open_until_end.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        verdict = probe(HostPort("127.0.0.1", listener.getsockname()[1]), MANIFEST, timeout=0.3)
    assert verdict.outcome is Outcome.UNREACHABLE
    assert 0.25 < verdict.seconds < 3


@pytest.mark.parametrize(
    "text",
    [b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 1000, b"H" * 1000, b"HTTP/1.1 100 Continue\r\n\r\n" * 100],
)
def test_a_peer_that_drips_headers_gains_nothing(text: bytes) -> None:
    with peer(drip(text)) as proxy:
        verdict = probe(proxy, MANIFEST, timeout=0.7)
    assert verdict.outcome is Outcome.UNREACHABLE
    assert 0.6 < verdict.seconds < 3


def test_a_peer_that_drips_the_body_gains_nothing() -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nVia: 1.1 x\r\n\r\n")
        drip(b"a" * 1000)(connection, request)

    with peer(answer) as proxy:
        verdict = probe(proxy, MANIFEST, timeout=0.7)
    assert verdict.outcome is Outcome.UNREACHABLE
    assert 0.6 < verdict.seconds < 3


def test_squid_saying_403_is_denied() -> None:
    with peer(
        say(http(b"<html>", "403 Forbidden", "X-Squid-Error: ERR_ACCESS_DENIED 0", "Via: 1.1 s"))
    ) as proxy:
        verdict = probe(proxy, MANIFEST, timeout=5)
    assert verdict.outcome is Outcome.DENIED
    assert "ERR_ACCESS_DENIED" in verdict.reason


def test_squid_without_a_way_to_the_origin_is_told_as_upstream() -> None:
    with peer(
        say(http(b"<html>", "503 Service Unavailable", "X-Squid-Error: ERR_CONNECT_FAIL 111"))
    ) as proxy:
        assert probe(proxy, MANIFEST, timeout=5).outcome is Outcome.UPSTREAM


@pytest.mark.parametrize(
    "reply",
    [
        http(b"<html>Welcome to the hotel of atlas.cern.ch</html>", "200 OK", "Via: 1.1 portal"),
        http(MANIFEST_BODY),
        http(MANIFEST_BODY.replace(b"Natlas.cern.ch", b"Ncms.cern.ch"), "200 OK", "Via: 1.1 s"),
    ],
    ids=["captive portal", "no sign of a cache", "another repository"],
)
def test_an_answer_that_is_not_the_object_of_a_cache_is_wrong(reply: bytes) -> None:
    with peer(say(reply)) as proxy:
        assert probe(proxy, MANIFEST, timeout=5).outcome is Outcome.WRONG


def test_an_expired_whitelist_is_wrong() -> None:
    old = WHITELIST_BODY.replace(b"E20231201", b"E20101201")
    with peer(say(http(old, "200 OK", "Via: 1.1 s"))) as proxy:
        verdict = probe(proxy, WHITELIST, timeout=5)
    assert verdict.outcome is Outcome.WRONG
    assert "expired" in verdict.reason


def test_a_flood_is_cut_off_and_is_wrong() -> None:
    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nVia: 1.1 s\r\n\r\n" + MANIFEST_BODY)
        while True:
            connection.sendall(b"x" * 65536)

    with peer(answer) as proxy:
        verdict = probe(proxy, MANIFEST, timeout=5)
    assert verdict.outcome is Outcome.WRONG
    assert str(MAX_BODY) in verdict.reason


def test_an_object_as_large_as_allowed_is_judged() -> None:
    body = MANIFEST_BODY + b"x" * (MAX_BODY - len(MANIFEST_BODY))
    with peer(say(http(body, "200 OK", "Via: 1.1 s"))) as proxy:
        assert probe(proxy, MANIFEST, timeout=5).good


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00",
        b"<html>hello</html>",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    ],
)
def test_a_peer_that_speaks_no_http_is_wrong(reply: bytes) -> None:
    with peer(say(reply)) as proxy:
        assert probe(proxy, MANIFEST, timeout=5).outcome is Outcome.WRONG


def test_a_peer_that_hangs_up_at_once_is_unreachable() -> None:
    with peer(say(b"")) as proxy:
        verdict = probe(proxy, MANIFEST, timeout=5)
    assert verdict.outcome is Outcome.UNREACHABLE
    assert verdict.reason == f"{proxy} hung up without an answer"


def test_an_object_cut_short_on_its_way_is_not_good() -> None:
    with peer(say(GOOD_REPLY[:-10])) as proxy:
        assert not probe(proxy, MANIFEST, timeout=5).good


def test_a_chunked_object_is_read() -> None:
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(MANIFEST_BODY), MANIFEST_BODY)
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nVia: 1.1 s\r\n\r\n" + chunks
    with peer(say(reply)) as proxy:
        assert probe(proxy, MANIFEST, timeout=5).good


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nVia: 1.1 s\r\n\r\n"


@pytest.mark.parametrize("size", [b"-1", b"-5", b"-" + b"f" * 30])
def test_a_chunk_of_negative_size_is_wrong_and_makes_no_probe_raise(size: bytes) -> None:
    with peer(say(CHUNKED + size + b"\r\n" + MANIFEST_BODY)) as proxy:
        assert probe(proxy, MANIFEST, timeout=5).outcome is Outcome.WRONG


def test_a_flood_in_a_chunk_without_end_is_not_read() -> None:
    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(CHUNKED + b"-1\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with peer(answer) as proxy:
        assert probe(proxy, MANIFEST, timeout=0.5).outcome is Outcome.WRONG


@pytest.mark.parametrize(
    "reply", [b"\x1b[2Jforged\r\n", b"HTTP/1.1 403 No\r\nX-Squid-Error: E\r\n\t\x1b[2Jforged\r\n\r\n"]
)
def test_what_a_peer_says_reaches_a_log_as_one_printable_line(reply: bytes) -> None:
    with peer(say(reply)) as proxy:
        assert probe(proxy, MANIFEST, timeout=5).reason.isprintable()


def test_no_bytes_that_a_peer_may_send_make_a_probe_raise() -> None:
    replies: list[bytes] = []
    starts = [
        b"",
        b"HTTP/1.1 ",
        b"HTTP/1.1 200 OK\r\n",
        CHUNKED,
        CHUNKED + b"-",
    ]

    @PROPERTY
    @given(st.sampled_from(starts), st.binary(max_size=60))
    def check(start: bytes, rest: bytes) -> None:
        replies[:] = [start + rest]
        assert not probe(proxy, MANIFEST, timeout=5).good

    with peer(lambda connection, _: connection.sendall(replies[0])) as proxy:
        check()


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")
def test_a_cache_at_an_ipv6_address_is_reached() -> None:
    with peer(say(GOOD_REPLY), "::1") as proxy:
        assert probe(proxy, MANIFEST, timeout=5).good


def test_a_name_with_two_addresses_is_tried_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    with peer(say(GOOD_REPLY)) as proxy, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        places = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
            for address in (bound.getsockname(), (proxy.host, proxy.port))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: places)
        assert probe(HostPort("two.example.org", 3128), MANIFEST, timeout=5).good


def test_an_address_of_a_family_that_this_machine_lacks_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with peer(say(GOOD_REPLY)) as proxy:
        places = [
            (family, socket.SOCK_STREAM, 6, "", (proxy.host, proxy.port)) for family in (9999, socket.AF_INET)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: places)
        assert probe(HostPort("two.example.org", 3128), MANIFEST, timeout=5).good
