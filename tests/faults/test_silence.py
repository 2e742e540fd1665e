"""Squids that fall silent, leave, die and move, alone and in crowds; and an origin that is out."""

import time
from dataclasses import replace

import pytest

from testbed.origin import Fault
from testbed.ports import free_port
from testbed.process import wait_until
from testbed.rabbitmq import RabbitMQ
from tests.faults.fleet import Life
from tests.faults.relay import Relay
from tests.faults.scale import REAL, Scale
from tests.faults.site import REAL_SQUIDS, Parts, fleet_of, running
from tests.faults.watch import Watch

PARTS = "RabbitMQ, Redis"


def patient(scale: Scale) -> Scale:
    """With times long enough that a machine which stands still for a moment is no silence of all."""
    return replace(scale, suspect_after=max(scale.suspect_after, 4.0), dead_after=max(scale.dead_after, 8.0))


def test_agents_that_are_cut_off_from_the_broker_together(
    shared: Parts, rabbitmq: RabbitMQ, scale: Scale
) -> None:
    """Their squids go on serving, so they stay; one that does stop serving meanwhile goes."""
    cut = ("127.0.0.1", free_port())
    url = str(shared.agents_url).replace(f":{rabbitmq.port}/", f":{cut[1]}/")
    with Relay((rabbitmq.host, rabbitmq.port)) as line:
        line.open([cut])
        with running(replace(shared, agents_url=url), scale) as site, Watch(site, counted=True) as watch:
            watch.live(scale.beat)
            line.shut([cut])
            watch.live(scale.suspect_after)
            site.destroy(site.fleet.live[-1:])
            watch.live(scale.fault)
            assert any("held" in state for state in watch.states)
            line.open([cut])
            watch.finish("all agents cut off from RabbitMQ together", PARTS, note="one squid dies meanwhile")


def test_most_squids_killed_at_once(shared: Parts, scale: Scale) -> None:
    with running(shared, scale) as site, Watch(site, witnesses=shared.agents_url, counted=True) as watch:
        watch.live(1.0)
        victims = site.fleet.live[REAL_SQUIDS + scale.agents // 4 :]
        site.destroy(victims)
        watch.live(scale.suspect_after)
        wait_until(lambda: any("held" in state for state in watch.states), 10.0, "expiry is held")
        watch.finish(f"{len(victims)} squids killed at once", PARTS, note="held, then refuted one by one")


def test_most_squids_leave_at_once(shared: Parts, scale: Scale) -> None:
    scale = patient(scale)
    with running(shared, scale) as site, Watch(site, witnesses=shared.agents_url, counted=True) as watch:
        watch.live(1.0)
        leavers = site.fleet.live[scale.agents // 10 :]
        site.fleet.leave(leavers)
        watch.live(scale.dead_after)
        watch.finish(f"{len(leavers)} squids leave in order at once", PARTS)
        assert not any("held" in state for state in watch.states)


def test_single_squids_die_under_load(shared: Parts, scale: Scale) -> None:
    scale = patient(scale)
    with running(shared, scale) as site, Watch(site, witnesses=shared.agents_url, counted=True) as watch:
        watch.live(1.0)
        site.destroy(site.fleet.live[-1:])
        watch.live(scale.beat)
        site.fleet.die(site.fleet.live[-1:])
        watch.live(scale.dead_after)
        note = "one with its squid, one whose squid still serves"
        watch.finish("two agents die, one after the other", PARTS, note=note)
        assert not any("held" in state for state in watch.states)


def test_agents_that_restart_and_squids_that_move(shared: Parts, scale: Scale) -> None:
    """A new uuid at the same endpoint is the same squid; the same uuid at a new one has moved there."""
    with running(shared, scale) as site, Watch(site, witnesses=shared.agents_url, counted=True) as watch:
        watch.live(1.0)
        restarted = site.fleet.live[REAL_SQUIDS : scale.agents // 2]
        site.fleet.restart(restarted)
        movers = site.fleet.live[-5:]
        moved = fleet_of(len(movers), site.squid.port, first=scale.agents)
        for mover, place in zip(movers, moved, strict=True):
            place.uuid = mover.uuid
        site.doors.open(place.place for place in moved)
        site.fleet.die(movers)
        site.fleet.add(moved)
        wait_until(lambda: all(one.acknowledged for one in moved), 10.0, "they are heard at the new place")
        for mover in movers:
            mover.life, mover.ended = Life.MOVED, time.monotonic()
        watch.live(scale.dead_after)
        watch.finish(f"{len(restarted)} agents restart, {len(movers)} squids move", PARTS)


@pytest.mark.parametrize("fault", [Fault.DOWN, Fault.CAPTIVE], ids=str)
def test_an_origin_that_is_out(shared: Parts, scale: Scale, fault: Fault) -> None:
    with running(shared, scale) as site, Watch(site, witnesses=shared.agents_url, counted=True) as watch:
        watch.live(1.0)
        site.origin.set_fault(fault)
        watch.live(max(scale.fault, 3 * scale.verify_interval))
        site.origin.set_fault(Fault.NONE)
        watch.live(scale.verify_interval)
        watch.finish(f"the only origin is out ({fault})", PARTS)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_squids_die_at_the_default_settings(shared: Parts) -> None:
    """Within 180 s of the last heartbeat where the squid still serves; sooner where direct checks fail."""
    with running(shared, REAL) as site, Watch(site, witnesses=shared.agents_url, counted=True) as watch:
        silent, destroyed = site.fleet.live[-1:], site.fleet.live[-4:-1]
        site.fleet.die(silent)
        site.destroy(destroyed)
        watch.live(REAL.dead_after)
        slowest = max(watch.lists.offered_for[one.address] for one in destroyed)
        note = f"default settings; 1 agent dies and its squid serves on, 3 squids destroyed: {slowest:.0f} s"
        watch.finish("four of 500 squids die", PARTS, note=note)
