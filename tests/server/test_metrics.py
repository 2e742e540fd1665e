"""What Prometheus reads, and what `conf/` makes of it."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from shoal_server.reports import Lookups, Report
from shoal_server.squid import Reach, Verification
from shoal_server.vitals import vitals
from shoal_server.web.counts import BOUNDS, Kind, LookupCounts, Outcome
from shoal_server.web.wpad import Empty
from tests.fakes import NOW, VICTORIA, squid
from tests.server.site import STRANGER, Site
from tools.conf import CONF

NAMES = re.compile(r"\bshoal_[a-z_]+\b")
HERE = "here"


def samples(site: Site) -> dict[tuple[str, ...], float]:
    """Value by metric name and the values of its labels, in the order of their names."""
    text = site.get("/metrics").get_data(as_text=True)
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def lookups(site: Site) -> Mapping[tuple[str, str], float]:
    """Lookups so far by kind and outcome, those that there were."""
    found = samples(site).items()
    return {(key[1], key[2]): value for key, value in found if key[0] == "shoal_lookups_total" and value}


# --- the squids -------------------------------------------------------------------------------------


def test_squids_are_counted_by_what_is_known_of_them() -> None:
    failed = Verification(Reach.FAILED, "refused the connection")
    site = Site([squid(), squid(failed, uuid="b", public_ip="192.0.2.2")])
    found = samples(site)
    counted = {key[3]: value for key, value in found.items() if key[0] == "shoal_squids" and value}
    assert counted == {"global": 1, "failed": 1}


def test_load_and_capacity_are_told_of_all_squids_together() -> None:
    one, two = squid(load=100.0, max_load=1000.0), squid(uuid="b", public_ip="192.0.2.2", load=50.0)
    found = samples(Site([one, two]))
    assert found["shoal_load_kb_per_second",] == pytest.approx(150.0)
    assert found["shoal_capacity_kb_per_second",] == pytest.approx(1000.0 + two.max_load)


def test_the_number_of_series_does_not_grow_with_the_number_of_squids() -> None:
    one = len(samples(Site([squid()])))
    hosts = [f"192.0.{n // 250}.{n % 250 + 1}" for n in range(5000)]
    many = Site(squid(uuid=f"u{n}", public_ip=host, hostname=f"h{n}.org") for n, host in enumerate(hosts))
    assert len(many.keeper.current.listed) == 5000
    assert len(samples(many)) == one


# --- heartbeats, checks, and how the processes are --------------------------------------------------


def test_heartbeats_are_counted_by_outcome_and_reason() -> None:
    site = Site()
    site.heartbeats = {"accepted": 5, "load": 2}
    found = samples(site)
    assert found["shoal_heartbeats_total", "accepted", "", HERE] == 5
    assert found["shoal_heartbeats_total", "refused", "load", HERE] == 2


def test_checks_are_counted_by_outcome() -> None:
    site = Site()
    site.checks = {"good": 7, "unjudged": 1}
    found = samples(site)
    assert (found["shoal_checks_total", "good", HERE], found["shoal_checks_total", "unjudged", HERE]) == (
        7,
        1,
    )


def test_a_hold_and_a_broken_intake_show() -> None:
    site = Site()
    site.held, site.connected = True, False
    found = samples(site)
    assert (found["shoal_hold",], found["shoal_intake_connected",]) == (1, 0)


def test_for_how_long_a_process_has_been_without_its_store_shows() -> None:
    site = Site()
    site.stale_seconds, site.snapshot_seconds = 12.5, 13.5
    found = samples(site)
    assert found["shoal_store_stale_seconds", HERE] == 12.5
    assert found["shoal_snapshot_age_seconds", HERE] == 13.5
    assert found["shoal_loop_late_seconds", HERE] == 0


def test_a_process_that_is_not_ready_shows() -> None:
    assert samples(Site())["shoal_ready",] == 1
    assert samples(Site(away=True))["shoal_ready",] == 0


def test_the_age_of_the_databases_is_told_if_there_are_any() -> None:
    site = Site()
    assert ("shoal_geoip_age_seconds",) not in samples(site)
    site.built = site.keeper.now() - 86_400
    assert samples(site)["shoal_geoip_age_seconds",] == pytest.approx(86_400, abs=60)


def test_what_a_process_takes_of_its_machine_shows() -> None:
    site = Site()
    site.vitals = {"cpu_seconds": 1.5, "memory_bytes": 1e8, "open_fds": 20.0, "start_time_seconds": NOW}
    found = samples(site)
    assert found["shoal_process_cpu_seconds_total", HERE] == 1.5
    assert found["shoal_process_memory_bytes", HERE] == 1e8
    assert found["shoal_process_open_fds", HERE] == 20
    assert found["shoal_process_start_time_seconds", HERE] == NOW


def test_what_this_process_takes_of_its_machine_is_known() -> None:
    before, found = time.time(), vitals()
    assert 1e6 < found["memory_bytes"] < 1e11
    assert 3 <= found["open_fds"] < 1e6
    assert 0 < found["cpu_seconds"] < before - found["start_time_seconds"] + 60


def test_any_process_speaks_for_all_and_keeps_them_apart() -> None:
    site = Site()
    site.heartbeats = {"accepted": 1}
    other = Report("other", site.keeper.now(), connected=True, heartbeats={"accepted": 9})
    site.hear(other)
    found = samples(site)
    assert found["shoal_heartbeats_total", "accepted", "", HERE] == 1
    assert found["shoal_heartbeats_total", "accepted", "", "other"] == 9


def test_a_report_of_an_older_server_is_read() -> None:
    old = {"server": "old", "at": NOW, "connected": True, "held": False, "heartbeats": {"accepted": 3}}
    assert Report.read(old) == Report("old", NOW, connected=True, heartbeats={"accepted": 3})


def test_a_report_of_a_newer_server_is_read() -> None:
    new = {**asdict(Report("new", NOW)), "mood": "sunny"}
    new["lookups"] = {**new["lookups"], "colours": {}}
    assert Report.read(json.loads(json.dumps(new))) == Report("new", NOW)


# --- lookups ----------------------------------------------------------------------------------------


def test_a_lookup_is_counted_with_its_outcome_and_its_time() -> None:
    counts = LookupCounts()
    counts.count(Kind.API, Outcome.EMPTY, 0.003)
    told = counts.lookups()
    assert told.outcomes["api"]["empty"] == 1
    assert told.seconds["api"] == 0.003
    assert (told.buckets["api"]["0.0025"], told.buckets["api"]["0.005"], told.buckets["api"]["+Inf"]) == (
        0,
        1,
        1,
    )


def test_nothing_else_is_counted_with_it() -> None:
    counts = LookupCounts()
    counts.count(Kind.API, Outcome.EMPTY, 0.003)
    told = counts.lookups()
    assert sum(sum(outcomes.values()) for outcomes in told.outcomes.values()) == 1
    assert sum(buckets["+Inf"] for buckets in told.buckets.values()) == 1


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_time_on_the_edge_of_a_bucket_belongs_to_it(bound: float) -> None:
    counts = LookupCounts()
    counts.count(Kind.NEAREST, Outcome.TOLD, bound)
    assert counts.lookups().buckets["nearest"][str(bound)] == 1


def test_a_time_beyond_all_buckets_is_counted() -> None:
    counts = LookupCounts()
    counts.count(Kind.WPAD, Outcome.TOLD, 100.0)
    assert [*counts.lookups().buckets["wpad"].values()] == [0] * len(BOUNDS) + [1]


def test_counts_survive_the_way_through_a_report() -> None:
    counts = LookupCounts()
    counts.count(Kind.NEAREST, Outcome.TOLD, 0.001)
    sent = Report("here", NOW, lookups=counts.lookups())
    assert Report.read(json.loads(json.dumps(asdict(sent)))) == sent
    assert sent.lookups != Lookups()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/nearest", "nearest"),
        ("/nearest/3", "nearest"),
        ("/nearestverified", "nearest"),
        ("/nearestcvmfs", "nearest"),
        ("/nearestconditions", "nearest"),
        ("/all", "all"),
        ("/wpad.dat", "wpad"),
        ("/wpad.dat/both", "wpad"),
        ("/proxy.pac", "wpad"),
        ("/proxy.pac/frontier", "wpad"),
        ("/api/v1/nearest", "api"),
    ],
)
def test_each_kind_of_lookup_is_counted(path: str, kind: str) -> None:
    placed = Site([squid()], {STRANGER: VICTORIA})
    placed.get(path)
    assert lookups(placed) == {(kind, "told"): 1}
    strange = Site([squid()])
    strange.get(path)
    assert lookups(strange) == {(kind, "unknown_place"): 1}
    empty = Site([], {STRANGER: VICTORIA})
    empty.get(path)
    assert lookups(empty) == {(kind, "empty"): 1}


@pytest.mark.parametrize("empty", Empty)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_that_there_is_no_squid_is_counted_as_that_whatever_a_pac_reader_wants_to_hear(
    empty: Empty, method: str
) -> None:
    site = Site([], {STRANGER: VICTORIA})
    site.get(f"/wpad.dat?empty={empty}", method=method)
    assert lookups(site) == {("wpad", "empty"): 1}


@pytest.mark.parametrize(
    ("path", "kind"), [("/api/v1/nearest?count=many", "api"), ("/wpad.dat?empty=maybe", "wpad")]
)
def test_a_question_that_cannot_be_understood_is_counted(path: str, kind: str) -> None:
    site = Site([squid()])
    site.get(path)
    assert lookups(site) == {(kind, "bad_request"): 1}


def test_what_is_no_lookup_is_not_counted() -> None:
    site = Site([squid()])
    for path in ("/", "/healthz", "/readyz", "/metrics", "/nowhere"):
        site.get(path)
    assert lookups(site) == {}


def test_latencies_are_a_histogram() -> None:
    site = Site([squid()])
    for _ in range(3):
        site.get("/nearest")
    found = samples(site)
    assert found["shoal_lookup_seconds_count", "nearest", HERE] == 3
    assert found["shoal_lookup_seconds_bucket", "nearest", "+Inf", HERE] == 3
    assert found["shoal_lookup_seconds_sum", "nearest", HERE] > 0


# --- the sample files -------------------------------------------------------------------------------


def expressions(document: object) -> Iterator[str]:
    """Every PromQL expression in an alert file or a dashboard."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "expr":
                yield value
            else:
                yield from expressions(value)
    elif isinstance(document, list):
        for value in document:
            yield from expressions(value)


def conf_file(name: str) -> Any:
    text = (CONF / name).read_text(encoding="utf-8")
    return json.loads(text) if name.endswith(".json") else yaml.safe_load(text)


@pytest.fixture(scope="module")
def exported() -> frozenset[str]:
    """The names of all series, with something in each."""
    site = Site([squid()])
    site.heartbeats, site.checks, site.built = {"accepted": 1, "load": 1}, {"good": 1, "unjudged": 1}, NOW
    site.vitals = vitals()
    site.get("/nearest")
    return frozenset(key[0] for key in samples(site))


@pytest.mark.parametrize("name", ["shoal_alerts.yml", "shoal_dashboard.json"])
def test_a_sample_file_names_only_metrics_that_there_are(name: str, exported: frozenset[str]) -> None:
    named = {metric for expression in expressions(conf_file(name)) for metric in NAMES.findall(expression)}
    assert named
    assert named <= exported


def test_every_metric_of_shoal_is_on_the_dashboard(exported: frozenset[str]) -> None:
    named = {
        m for expression in expressions(conf_file("shoal_dashboard.json")) for m in NAMES.findall(expression)
    }
    ours = {name for name in exported if name.startswith("shoal_") and not name.endswith("_created")}
    assert ours - named == {"shoal_report_age_seconds"}


def test_every_alert_says_what_is_wrong_and_how_bad_that_is() -> None:
    rules = [rule for group in conf_file("shoal_alerts.yml")["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 0
    for rule in rules:
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in conf_file("shoal_dashboard.json")["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
