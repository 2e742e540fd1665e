"""The sweeper over real parts: who goes, and when nobody may go."""

import logging
from dataclasses import replace

import pytest

from shoal_server.hold import HoldRules
from shoal_server.registry import EventKind, Registry
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import LivenessRules, Reach, Verification
from shoal_server.sweeper import Sweeper
from tests.fakes import NOW, FlakyStore, Places, beat

RULES = LivenessRules(suspect_after=90, dead_after=180)
FLEET = 10


class Stage:
    """A sweeper that runs every ten seconds; its store can go away and its link can break."""

    def __init__(self, squids: int = FLEET) -> None:
        self.store = FlakyStore()
        self.registry = Registry(self.store, RULES)
        self.keeper = SnapshotKeeper(self.registry, Places())
        self.linked = True
        self.sweeper = Sweeper(
            self.registry,
            self.keeper,
            HoldRules(cap=900),
            lambda: self.linked and self.keeper.stale_since is None,
        )
        self.now = NOW
        self.steady = 5.0
        self.squids = squids
        self.silent: set[int] = set()
        self.hear()

    def hear(self) -> None:
        """A heartbeat of every squid that is not silent, unless it cannot reach us."""
        if self.linked and not self.store.away:
            talking = [number for number in range(self.squids) if number not in self.silent]
            self.registry.hear([beat(uuid=f"u{n}", public_ip=f"192.0.2.{n + 1}") for n in talking], self.now)

    def live(self, seconds: int) -> None:
        """So much time passes."""
        for _ in range(seconds // 10):
            self.now += 10
            self.steady += 10
            self.hear()
            self.keeper.refresh(self.now)
            self.sweeper.sweep(self.now, self.steady)

    def listed(self) -> int:
        self.store.away = False
        return len(self.store.squids())


@pytest.fixture
def stage() -> Stage:
    it = Stage()
    it.live(300)
    return it


def test_a_squid_that_fell_silent_expires_after_its_time(stage: Stage) -> None:
    stage.silent = {0}
    stage.live(170)
    assert stage.listed() == FLEET
    stage.live(30)
    assert stage.listed() == FLEET - 1
    assert stage.store.events(1)[0].kind is EventKind.EXPIRED


def test_nothing_expires_before_we_have_listened_for_as_long() -> None:
    stage = Stage()
    stage.silent = {0}
    stage.store.put([replace(one, seen=NOW - 1000) for one in stage.store.squids()[:1]], [], [])
    stage.live(170)
    assert stage.listed() == FLEET
    stage.live(30)
    assert stage.listed() == FLEET - 1


def test_a_broken_intake_link_empties_no_list_however_long_it_lasts(stage: Stage) -> None:
    stage.linked = False
    stage.live(3600)
    assert stage.listed() == FLEET
    stage.linked = True
    stage.live(400)
    assert stage.listed() == FLEET


def test_a_squid_that_died_while_the_link_was_down_goes_once_silence_means_something(stage: Stage) -> None:
    stage.linked = False
    stage.live(600)
    stage.silent = {0}
    stage.linked = True
    stage.live(170)
    assert stage.listed() == FLEET
    stage.live(30)
    assert stage.listed() == FLEET - 1


def test_a_store_that_was_away_empties_no_list(stage: Stage) -> None:
    stage.store.away = True
    stage.live(3600)
    stage.store.away = False
    stage.live(400)
    assert stage.listed() == FLEET


def test_an_improbable_silence_is_held_and_told_once(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.silent = set(range(5))
    with caplog.at_level(logging.WARNING):
        stage.live(600)
    assert stage.listed() == FLEET
    assert stage.sweeper.silence.held
    assert sum("expiry is held" in record.message for record in caplog.records) == 1


def test_a_hold_ends_by_itself_when_the_squids_are_heard_again(stage: Stage) -> None:
    stage.silent = set(range(5))
    stage.live(300)
    stage.silent = set()
    stage.live(120)
    assert not stage.sweeper.silence.held
    assert stage.listed() == FLEET


def test_the_last_ones_to_come_back_are_not_taken_for_deaths(stage: Stage) -> None:
    stage.silent = set(range(5))
    stage.live(300)
    stage.silent = {0}
    stage.live(60)
    assert stage.listed() == FLEET


def test_the_last_one_that_does_not_come_back_goes_soon_after(stage: Stage) -> None:
    stage.silent = set(range(5))
    stage.live(300)
    stage.silent = {0}
    stage.live(120)
    assert stage.listed() == FLEET - 1


def test_a_held_squid_that_fails_a_direct_check_goes(stage: Stage) -> None:
    stage.silent = set(range(5))
    stage.live(300)
    failed = Verification(Reach.GLOBAL, "refused the connection", stage.now, stage.now + 10, failures=1)
    stage.store.put_verification("192.0.2.1:3128", failed, [])
    stage.live(20)
    assert stage.listed() == FLEET - 1


def test_the_cap_ends_a_hold(stage: Stage) -> None:
    stage.silent = set(range(5))
    stage.live(180 + 900 + 30)
    assert stage.listed() == FLEET - 5


@pytest.mark.parametrize("step", [3600, -3600])
def test_a_clock_of_ours_that_is_set_empties_no_list(stage: Stage, step: int) -> None:
    stage.now += step
    stage.live(600)
    assert stage.listed() == FLEET


@pytest.mark.parametrize("step", [3600, -3600])
def test_after_the_clock_was_set_the_dead_still_go(stage: Stage, step: int) -> None:
    stage.now += step
    stage.silent = {0}
    stage.live(600)
    assert stage.listed() == FLEET - 1


def test_a_squid_that_was_heard_in_the_future_goes_when_it_is_silent_from_now_on(stage: Stage) -> None:
    """A wrong clock was set right while the server was down, so nobody saw it change."""
    stage.silent = {0}
    stage.registry.hear([beat(uuid="u0", public_ip="192.0.2.1")], stage.now + 86_400)
    stage.live(600)
    assert stage.listed() == FLEET - 1


def test_times_that_could_not_be_corrected_when_the_clock_was_set_are_corrected_later(stage: Stage) -> None:
    stage.silent = {0}
    stage.now -= 3600
    stage.store.away = True
    stage.live(10)
    stage.store.away = False
    stage.live(900)
    assert stage.listed() == FLEET - 1


# --- what the log says of held squids ---------------------------------------------------------------


def held(stage: Stage) -> list[str]:
    """Whom the log says to be held, oldest first."""
    return [event.squid_id for event in stage.store.events(1000)[::-1] if event.kind is EventKind.HELD]


def test_each_squid_that_is_held_is_in_the_log_once(stage: Stage) -> None:
    stage.silent = {0, 1, 2, 3, 4}
    stage.live(170)
    assert held(stage) == []
    stage.live(300)
    assert held(stage) == [f"192.0.2.{number + 1}:3128" for number in range(5)]


def test_a_squid_that_falls_silent_later_is_noted_when_it_is_held(stage: Stage) -> None:
    stage.silent = {0, 1, 2, 3, 4}
    stage.live(300)
    stage.silent |= {5}
    stage.live(300)
    assert held(stage)[5:] == ["192.0.2.6:3128"]


def test_a_squid_that_is_held_again_in_another_silence_is_noted_again(stage: Stage) -> None:
    for _ in range(2):
        stage.silent = {0, 1, 2, 3, 4}
        stage.live(300)
        stage.silent = set()
        stage.live(300)
    assert len(held(stage)) == 10


def test_ordinary_deaths_are_not_noted_as_held(stage: Stage) -> None:
    stage.silent = {0}
    stage.live(300)
    assert held(stage) == []


def test_of_two_servers_one_notes_who_is_held(stage: Stage) -> None:
    other = Sweeper(stage.registry, stage.keeper, HoldRules(cap=900), lambda: True)
    stage.silent = {0, 1, 2, 3, 4}
    for _ in range(40):
        stage.live(10)
        other.sweep(stage.now, stage.steady)
    assert other.silence.held
    assert len(held(stage)) == 5
