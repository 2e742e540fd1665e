"""What Prometheus reads."""

from prometheus_client.parser import text_string_to_metric_families

from shoal_server.squid import Reach, Verification
from tests.fakes import squid
from tests.server.site import Site


def samples(site: Site) -> dict[tuple[str, ...], float]:
    """Value by metric name and the values of its labels, in the order of their names."""
    text = site.get("/metrics").get_data(as_text=True)
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_squids_are_counted_by_what_is_known_of_them() -> None:
    failed = Verification(Reach.FAILED, "refused the connection")
    site = Site([squid(), squid(failed, uuid="b", public_ip="192.0.2.2")])
    found = samples(site)
    counted = {key[3]: value for key, value in found.items() if key[0] == "shoal_squids" and value}
    assert counted == {"global": 1, "failed": 1}


def test_the_number_of_series_does_not_grow_with_the_number_of_squids() -> None:
    one = len(samples(Site([squid()])))
    many = len(samples(Site([squid(uuid=f"u{n}", public_ip=f"192.0.2.{n}") for n in range(1, 100)])))
    assert one == many


def test_heartbeats_are_counted_by_outcome() -> None:
    site = Site()
    site.heartbeats = {"accepted": 5, "load": 2}
    found = samples(site)
    assert (found["shoal_heartbeats_total", "accepted"], found["shoal_heartbeats_total", "load"]) == (5, 2)


def test_a_hold_a_broken_intake_and_a_stale_store_show() -> None:
    site = Site()
    site.held, site.connected, site.store.away = True, False, True
    site.keeper.refresh(0.0)
    found = samples(site)
    assert (found["shoal_hold",], found["shoal_intake_connected",]) == (1, 0)
    assert found["shoal_store_stale_seconds",] > 0
