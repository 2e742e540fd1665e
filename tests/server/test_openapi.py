"""The API's document, and whether the server keeps to it whatever it is asked."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.schemas import BaseSchema

from shoal_common.heartbeat import AgentState, CacheType, Metrics, Upstream
from shoal_server.historian import Historian
from shoal_server.squid import Reach, Squid, Verification
from shoal_server.web.api import OPERATIONS, described
from shoal_server.web.api.operations import ROOT
from tests.common.properties import PROPERTY
from tests.fakes import GENEVA, NOW, VICTORIA, squid
from tests.server.site import Site

TOKEN = "correct-horse-battery"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
FULL = Metrics(requests_per_s=50.0, hits_per_s=40.0, fds_used=100, fds_max=1024, median_service_ms=1.5)
FAILED = Verification(Reach.FAILED, "connection refused", checked=NOW, due=NOW + 10, failures=3)
LOCAL = Verification(Reach.LOCAL, "it refuses us", checked=NOW, due=NOW + 300, lacks=("frontier",))
PLACES = {"192.0.2.1": VICTORIA, "192.0.2.2": GENEVA, "10.0.0.4": GENEVA, "0.0.0.0": VICTORIA}


def squids() -> Iterator[Squid]:
    """One of every kind, and enough for several pages."""
    yield squid(public_ip="192.0.2.1", uuid="1", metrics=FULL, agent="shoal-2.0.0", private_ip="10.0.0.1")
    yield squid(FAILED, public_ip="192.0.2.2", uuid="2", upstream=Upstream.CVMFS)
    yield squid(LOCAL, public_ip=None, external_ip="192.0.2.3", private_ip="10.0.0.3", uuid="3")
    yield squid(Verification(), public_ip=None, private_ip="10.0.0.4", uuid="4", max_load=None)
    yield squid(public_ip=None, ipv6="2001:db8::5", uuid="5", state=AgentState.DRAINING)
    yield squid(public_ip="192.0.2.6", uuid="6", cache_type=CacheType.VARNISH, hostname="null.example.org")
    for n in range(10, 30):
        yield squid(public_ip=f"192.0.2.{n}", uuid=f"{n}", hostname=f"sq{n}.example.org", load=1000.0 * n)


@pytest.fixture(scope="module")
def site() -> Site:
    """With a past: two spans of history and a record of who was listed."""
    site = Site(squids(), PLACES, token=TOKEN)
    historian = Historian(site.keeper, site.store, site.history)
    for seconds in (0, 10, 310, 400):
        historian.look(NOW + seconds)
    site.store.now = lambda: NOW + 400  # type: ignore[method-assign]
    return site


schemathesis.openapi.format("line", st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=200))
schemathesis.openapi.format("cursor", st.just(""))
MODES = [
    (one.path, one.method, mode)
    for one in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or one.asked.__struct_fields__ or one.body
]


@pytest.fixture(scope="module")
def api(site: Site) -> BaseSchema:
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", site.client.application)


@pytest.mark.parametrize(("path", "method", "mode"), MODES)
def test_every_answer_to_strangers_and_to_operators_is_as_described(
    api: BaseSchema, path: str, method: str, mode: GenerationMode
) -> None:
    """Whether what was asked is as described (positive) or not (negative)."""
    cases: st.SearchStrategy[Case[Any]] = api[ROOT + path][method].as_strategy(generation_mode=mode)

    @settings(PROPERTY, max_examples=12, suppress_health_check=list(HealthCheck))
    @given(cases)
    def holds(case: Case[Any]) -> None:
        for headers in ({}, OPERATOR):
            case.call_and_validate(headers=headers)

    holds()


REAL: list[tuple[str, str, dict[str, Any]]] = [
    ("/api/v1/squids/{id}", "GET", {"path_parameters": {"id": "192.0.2.1:3128"}}),
    ("/api/v1/squids/{id}", "GET", {"path_parameters": {"id": "192.0.2.3:3128/10.0.0.3"}}),
    ("/api/v1/squids/{id}/history", "GET", {"path_parameters": {"id": "192.0.2.10:3128"}}),
    ("/api/v1/squids/{id}/events", "GET", {"path_parameters": {"id": "192.0.2.1:3128"}}),
    ("/api/v1/listed", "GET", {"query": {"at": "2023-11-14T22:15:00Z"}}),
    ("/api/v1/squids", "GET", {"query": {"limit": 5}}),
    ("/api/v1/events", "GET", {"query": {"limit": 5}}),
    ("/api/v1/explain", "GET", {"query": {"address": "192.0.2.1"}}),
    ("/api/v1/drain", "POST", {"body": {"squid": "192.0.2.2:3128", "who": "ada", "why": "new kernel"}}),
]


@pytest.mark.parametrize(("path", "method", "given"), REAL)
def test_answers_about_real_squids_are_as_described(
    api: BaseSchema, path: str, method: str, given: dict[str, Any]
) -> None:
    operation = api[path][method]
    case = operation.Case(**given, media_type="application/json" if "body" in given else None)
    answer = case.call_and_validate(headers=OPERATOR)
    assert answer.status_code in (200, 204)


def test_the_document_is_served_and_names_every_operation(site: Site) -> None:
    answer = site.get("/api/v1/openapi.json")
    told = answer.get_json()
    assert told["openapi"] == "3.1.0"
    names = [one["operationId"] for path in told["paths"].values() for one in path.values()]
    assert sorted(names) == sorted({operation.name for operation in OPERATIONS})
    assert answer.headers["ETag"]


def test_every_operation_parameter_and_body_says_what_it_means() -> None:
    for path in described()["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            assert all(parameter["description"] for parameter in operation["parameters"])


def test_the_document_refers_to_nothing_that_it_lacks() -> None:
    text = json.dumps(described())
    known = {f"#/components/schemas/{name}" for name in described()["components"]["schemas"]}
    assert set(re.findall(r'"\$ref": "([^"]*)"', text)) == known
