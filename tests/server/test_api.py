"""The API as a whole: errors are problem details, answers can be kept, and nothing that a stranger
sends makes it fail.
"""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_common.errors import Unavailable
from shoal_common.heartbeat import Upstream
from shoal_server.squid import Squid
from shoal_server.web.api import OPERATIONS
from tests.common.properties import PROPERTY
from tests.fakes import GENEVA, VICTORIA, squid
from tests.server.site import STRANGER, Site

TOKEN = "correct-horse-battery"
READING = [
    one.path for one in OPERATIONS if one.method == "GET" and "{" not in one.path and one.path != "/listed"
]
MANY = 300


@pytest.fixture(scope="module")
def site() -> Site:
    squids = [squid(public_ip="192.0.2.1"), squid(public_ip="192.0.2.2", uuid="2")]
    return Site(squids, {"192.0.2.1": VICTORIA, "192.0.2.2": GENEVA}, token=TOKEN)


def problem(answer: Any, status: int) -> str:
    """The detail of an error that is one (RFC 9457)."""
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    told = json.loads(answer.data)
    assert (told["status"], told["type"]) == (status, "about:blank")
    assert told["title"]
    return str(told["detail"])


# --- errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/v1", "/api/v1/", "/api/v2/nearest", "/api/v1/nearest/", "/api/x"]
)
def test_a_path_that_is_not_there_is_a_problem(site: Site, path: str) -> None:
    problem(site.get(path), 404)


@pytest.mark.parametrize(("path", "allowed"), [("/api/v1/nearest", "GET"), ("/api/v1/drain", "POST")])
def test_a_method_that_is_not_allowed_is_a_problem_that_says_which_are(
    site: Site, path: str, allowed: str
) -> None:
    answer = site.get(path, method="DELETE")
    problem(answer, 405)
    assert allowed in answer.headers["Allow"]


def test_a_body_that_is_too_long_is_a_problem(site: Site) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    problem(site.client.post("/api/v1/drain", data=b"x" * 20_000, headers=headers), 413)


def test_a_defect_of_ours_is_a_problem_without_its_details(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site([squid()])
    site.client.application.config["PROPAGATE_EXCEPTIONS"] = False
    monkeypatch.setattr(site.store, "now", lambda: 1 / 0)
    assert "division" not in problem(site.get("/api/v1/nearest"), 500)


@pytest.mark.parametrize(
    "path", ["/events", "/listed?at=1000", "/squids/192.0.2.1:3128/events", "/squids/192.0.2.1:3128/history"]
)
def test_while_the_store_is_away_the_past_is_a_problem_and_the_present_is_told(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site([squid()], token=TOKEN)
    words = "Redis: Error 111 connecting to 10.1.2.3:6379. Connection refused."

    def away(*args: Any, **options: Any) -> Any:
        raise Unavailable(words)

    for name in ("events", "frames", "checkpoint"):
        monkeypatch.setattr(site.history, name, away)
    assert problem(site.get(f"/api/v1{path}"), 503) == "the store is away"
    operator = site.get(f"/api/v1{path}", Authorization=f"Bearer {TOKEN}")
    assert problem(operator, 503) == words
    assert site.get("/api/v1/squids/192.0.2.1:3128").status_code == 200


def test_errors_elsewhere_are_no_problem_details(site: Site) -> None:
    assert site.get("/nearest/x").mimetype == "text/html"


@pytest.mark.parametrize("path", READING)
def test_an_unknown_parameter_is_named(site: Site, path: str) -> None:
    assert "'frobnicate'" in problem(site.get(f"/api/v1{path}?frobnicate=1"), 400)


@pytest.mark.parametrize("path", ["nearest", "explain"])
def test_an_empty_address_is_the_requesters_own(site: Site, path: str) -> None:
    own = site.get(f"/api/v1/{path}").get_json()
    assert site.get(f"/api/v1/{path}?address=").get_json() == own


def test_a_parameter_that_is_given_twice_is_refused(site: Site) -> None:
    assert problem(site.get("/api/v1/nearest?count=1&count=2"), 400) == "'count' is given 2 times"


# --- keeping answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*(one for one in READING if one != "/status"), "/openapi.json"])
def test_an_answer_that_has_not_changed_is_not_sent_again(site: Site, path: str) -> None:
    first = site.get(f"/api/v1{path}")
    assert first.headers["Cache-Control"]
    again = site.get(f"/api/v1{path}", If_None_Match=first.headers["ETag"])
    assert (again.status_code, again.data) == (304, b"")
    assert site.get(f"/api/v1{path}", If_None_Match='"another"').status_code == 200


@pytest.mark.parametrize("path", READING)
def test_answers_that_depend_on_the_asker_are_not_for_shared_caches(site: Site, path: str) -> None:
    assert site.get(f"/api/v1{path}").headers["Cache-Control"].startswith("private")


@pytest.mark.parametrize("path", [*READING, "/openapi.json", "/squids/192.0.2.1:3128"])
def test_head_is_get_without_the_body(site: Site, path: str) -> None:
    head, get = site.get(f"/api/v1{path}", method="HEAD"), site.get(f"/api/v1{path}")
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


# --- what strangers send ----------------------------------------------------------------------------

TEXTS = st.text(max_size=40) | st.sampled_from(
    ["9" * 5000, "\x00", "1e400", "-0", "::", "::ffff:1.2.3.4", "1.2.3.4%eth0", "null", "NaN", "\ud7ff", "[]"]
)
KNOWN = {field for one in OPERATIONS for field in one.asked.__struct_encode_fields__}
NAMES = st.sampled_from(sorted(KNOWN | {"ip", "form", "direct", "empty", "keep", "page"}))
PATHS = st.sampled_from(
    [
        *(f"/api/v1{one.path}".replace("{id}", "192.0.2.1:3128") for one in OPERATIONS),
        *("/nearest", "/nearestcvmfs/3", "/all", "/external", "/"),
        *("/wpad.dat", "/proxy.pac/cvmfs", "/wlcg-squids.json"),
    ]
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["X-Forwarded-For", "Authorization", "If-None-Match", "Range", "Accept", "If-Modified-Since"]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60),
)


@PROPERTY
@given(
    PATHS, st.dictionaries(NAMES, TEXTS, max_size=4), HEADERS, st.sampled_from(["GET", "HEAD", "POST", "PUT"])
)
def test_nothing_that_is_asked_makes_the_server_fail(
    site: Site, path: str, query: dict[str, str], headers: dict[str, str], method: str
) -> None:
    answer = site.client.open(
        path, method=method, query_string=query, headers=headers, environ_base={"REMOTE_ADDR": STRANGER}
    )
    assert answer.status_code in (200, 204, 304, 400, 401, 404, 405)
    if path.startswith("/api") and answer.status_code >= 400:
        assert answer.mimetype == "application/problem+json"


@PROPERTY
@given(st.binary(max_size=60) | st.sampled_from([b"[" * 10_000, b'{"squid":"\\ud800"}', b'{"who":1e999}']))
def test_no_body_makes_the_server_fail(site: Site, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = site.client.post("/api/v1/forget", data=body, headers=headers)
    assert "squid, who and why" in problem(answer, 400)


def test_an_explanation_has_a_bound_and_says_what_it_leaves_out() -> None:
    def numbered(n: int, upstream: Upstream) -> Squid:
        return squid(public_ip=f"192.0.2.{n % 250 + 1}", uuid=f"{n}", port=1000 + n, upstream=upstream)

    good = [numbered(n, Upstream.BOTH) for n in range(30)]
    site = Site([*good, *(numbered(n, Upstream.CVMFS) for n in range(30, 30 + MANY))])
    for path in ("explain?service=frontier", "nearest?service=frontier&explain=yes"):
        told = site.get(f"/api/v1/{path}").get_json()
        assert (sum(map(len, told["groups"])), told["further"]) == (5, 25)
        assert (len(told["excluded"]), told["excluded_total"]) == (200, MANY)


def test_an_explanation_ends_in_strings_ready_to_copy(site: Site) -> None:
    told = site.get("/api/v1/explain?address=192.0.2.1").get_json()
    assert set(re.findall(r"http://192\.0\.2\.[12]:3128", told["cvmfs"])) == {
        "http://192.0.2.1:3128",
        "http://192.0.2.2:3128",
    }
    assert "(proxyurl=http://192.0.2.1:3128)" in told["frontier"]
    assert "FindProxyForURL" in told["pac"]
