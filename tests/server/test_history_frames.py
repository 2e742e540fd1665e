"""Samples in few bytes, and what a span makes of what was seen."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_common.heartbeat import MAX_RATE, AgentState, Metrics
from shoal_server.frames import BUCKETS, Row, Tally, bucket_of, find, frame, joined, key_of, pack, slot_of
from shoal_server.squid import Reach, Squid, Verification
from tests.fakes import GOOD, NOW, squid

ID = "192.0.2.1:3128"
ROW = Row(1234.5, 5000.0, 0.25, 0.5, 10, Reach.GLOBAL, draining=False)
SLOT = 5_666_666

rates = st.floats(0, MAX_RATE)
rows = st.builds(
    Row,
    load=rates,
    highest=rates,
    utilisation=st.floats(0, 65),
    hit_ratio=st.none() | st.floats(0, 1),
    heard=st.integers(0, 65_535),
    reach=st.sampled_from(Reach),
    draining=st.booleans(),
)


def read(frames: dict[int, bytes], squid_id: str) -> tuple[int, Row | None]:
    return find(frames[bucket_of(squid_id)], key_of(squid_id))


def heard(seconds: float = 0.0, verification: Verification = GOOD, **changes: Any) -> Squid:
    """A squid as heard so many seconds after NOW."""
    return replace(squid(verification, **changes), seen=NOW + seconds)


# --- frames -----------------------------------------------------------------------------------------


@given(rows)
def test_a_row_comes_back_as_precisely_as_promised(row: Row) -> None:
    slot, found = read(pack(SLOT, {ID: row}), ID)
    assert slot == SLOT
    assert found
    assert found.load == pytest.approx(row.load, rel=3e-4, abs=3e-4)
    assert found.highest == pytest.approx(row.highest, rel=3e-4, abs=3e-4)
    assert found.utilisation == pytest.approx(row.utilisation, abs=5.1e-4)
    assert (found.heard, found.reach, found.draining) == (row.heard, row.reach, row.draining)
    if row.hit_ratio is None:
        assert found.hit_ratio is None
    else:
        assert found.hit_ratio == pytest.approx(row.hit_ratio, abs=2.6e-3)


def test_what_is_beyond_all_scales_is_cut_and_not_refused() -> None:
    _, found = read(pack(SLOT, {ID: replace(ROW, load=1e12, utilisation=1e6, heard=10**9)}), ID)
    assert found
    assert (round(found.load), found.utilisation, found.heard) == (MAX_RATE, 65.535, 65_535)


def test_each_of_many_squids_is_found_and_no_other() -> None:
    loads = {f"192.0.{n // 250}.{n % 250 + 1}:3128": float(n) for n in range(2000)}
    frames = pack(SLOT, {squid_id: replace(ROW, load=load) for squid_id, load in loads.items()})
    assert set(frames) == set(range(BUCKETS))
    for squid_id, load in loads.items():
        _, found = read(frames, squid_id)
        assert found
        assert found.load == pytest.approx(load, rel=1e-3, abs=1e-3)
    assert read(frames, "198.51.100.1:3128") == (SLOT, None)


def test_a_key_that_only_stands_across_rows_is_not_found() -> None:
    one = pack(SLOT, {ID: ROW})[bucket_of(ID)]
    assert find(one, one[7:11]) == (SLOT, None)


@pytest.mark.parametrize("spoilt", [b"", b"\x01", b"\x02\x00\x00\x00\x00", b"\x01\x00\x00\x00\x00abc"])
def test_a_frame_that_cannot_be_read_holds_nobody(spoilt: bytes) -> None:
    assert slot_of(spoilt) is None
    assert find(spoilt, key_of(ID)) == (-1, None)


@given(st.lists(rows, min_size=1, max_size=24))
def test_a_longer_span_has_the_means_of_its_parts_and_the_highest_of_all(parts: list[Row]) -> None:
    whole = joined(7, [pack(n, {ID: row})[bucket_of(ID)] for n, row in enumerate(parts)])
    assert whole
    slot, found = find(whole, key_of(ID))
    assert slot == 7
    assert found
    assert found.load == pytest.approx(math.fsum(r.load for r in parts) / len(parts), rel=1e-3, abs=1e-3)
    assert found.highest == pytest.approx(max(r.highest for r in parts), rel=1e-3, abs=1e-3)
    known = [r.hit_ratio for r in parts if r.hit_ratio is not None]
    assert (found.hit_ratio is None) is (not known)
    if known:
        assert found.hit_ratio == pytest.approx(sum(known) / len(known), abs=6e-3)
    assert found.heard == min(65_535, sum(r.heard for r in parts))
    assert (found.reach, found.draining) == (parts[-1].reach, parts[-1].draining)


def test_a_squid_that_was_there_for_a_part_of_a_longer_span_has_the_means_of_that_part() -> None:
    other = "192.0.2.7:3128"
    bucket = bucket_of(ID)
    both = frame(0, [pack(0, {ID: ROW})[bucket][5:], pack(0, {other: ROW})[bucket_of(other)][5:]])
    whole = joined(7, [both, pack(1, {ID: replace(ROW, load=0.0)})[bucket]])
    assert whole
    assert find(whole, key_of(other))[1] == find(both, key_of(other))[1]


def test_nobody_makes_no_frame() -> None:
    assert pack(SLOT, {}) == {}
    assert joined(SLOT, []) is None


# --- what a span makes of what was seen -------------------------------------------------------------


def test_each_heartbeat_counts_once_however_often_it_is_seen() -> None:
    tally = Tally()
    for _ in range(3):
        tally.look(heard(0, load=100.0))
    tally.look(heard(30, load=300.0))
    row = tally.row()
    assert row
    assert (row.heard, row.load, row.highest) == (2, 200.0, 300.0)


def test_utilisation_is_the_mean_share_of_the_capacity() -> None:
    tally = Tally()
    tally.look(heard(0, load=100.0, max_load=1000.0))
    tally.look(heard(30, load=300.0, max_load=1000.0))
    row = tally.row()
    assert row
    assert row.utilisation == pytest.approx(0.2)


def test_the_hit_ratio_weighs_by_requests() -> None:
    tally = Tally()
    tally.look(heard(0, metrics=Metrics(requests_per_s=90.0, hits_per_s=90.0)))
    tally.look(heard(30, metrics=Metrics(requests_per_s=10.0, hits_per_s=0.0)))
    row = tally.row()
    assert row
    assert row.hit_ratio == pytest.approx(0.9)


def test_a_cache_that_says_nothing_of_hits_has_no_hit_ratio() -> None:
    tally = Tally()
    tally.look(heard())
    row = tally.row()
    assert row
    assert row.hit_ratio is None


def test_more_hits_than_requests_are_no_more_than_all() -> None:
    tally = Tally()
    tally.look(heard(0, metrics=Metrics(requests_per_s=1.0, hits_per_s=2.0)))
    row = tally.row()
    assert row
    assert row.hit_ratio == 1.0


def test_a_heartbeat_of_the_span_before_does_not_count_again() -> None:
    tally = Tally(seen=NOW)
    tally.look(heard(0, load=100.0))
    row = tally.row()
    assert row
    assert (row.heard, row.load) == (0, 100.0)


def test_reach_and_draining_are_as_at_the_end() -> None:
    tally = Tally()
    tally.look(heard(0))
    tally.look(heard(30, Verification(Reach.FAILED, "refused"), state=AgentState.DRAINING))
    row = tally.row()
    assert row
    assert (row.reach, row.draining) == (Reach.FAILED, True)


def test_a_squid_that_was_not_there_has_no_row() -> None:
    assert Tally(seen=NOW).row() is None
