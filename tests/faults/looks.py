"""What workers see of a site: answers to lookups, and whole lists held against the truth of the fleet."""

import http.client
import itertools
import re
import threading
import time
from collections import Counter

from testbed.program import ShoalServer
from tests.faults.fleet import Agent, Life
from tests.faults.site import Site

LOOKUP_SECONDS = 5.0
"""A worker that waits longer than this gets no answer."""
LEAVE_SECONDS = 1.0
MOVE_SECONDS = 2.0
SWEEP_SLACK = 3.0
"""The way of the last heartbeat, the sweep (1 s), the snapshot, and a busy machine."""
_ADDRESS = re.compile(rb'"public_ip": ?"([^"]+)"')


class Lookups(threading.Thread):
    """Asks the serving servers in turn at a steady pace, over a new connection each time, as workers do."""

    def __init__(self, site: Site, per_second: float, end: threading.Event) -> None:
        super().__init__(name="lookups", daemon=True)
        self._site = site
        self._pause = 1.0 / per_second
        self._end = end
        self.answered = 0
        self.troubles: list[str] = []
        self.slowest = 0.0
        self.states: Counter[str] = Counter()

    def run(self) -> None:
        due = time.monotonic()
        for turn in itertools.count():
            due = max(due + self._pause, time.monotonic() - 1.0)
            if self._end.wait(max(0.0, due - time.monotonic())):
                return
            self._look_up(turn)

    def _look_up(self, turn: int) -> None:
        """Of a server that was killed while it answered, a worker turns to the next one."""
        while True:
            serving = self._site.serving
            if not serving:
                return  # the only server is down: its workers keep what they have
            server = serving[turn % len(serving)]
            began = time.monotonic()
            try:
                state, body = ask(server, "/nearest/5")
            except (OSError, http.client.HTTPException) as error:
                if server not in self._site.serving:
                    continue
                self.troubles.append(f"{server.url}: {error!r} after {time.monotonic() - began:.2f} s")
                return
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.states[state] += 1
            if _ADDRESS.search(body):
                self.answered += 1
            else:
                self.troubles.append(f"{server.url} named no squid, state {state}")
            return


class Lists(threading.Thread):
    """Compares what each server offers with what is true of the fleet."""

    def __init__(self, site: Site, per_second: float, end: threading.Event) -> None:
        super().__init__(name="lists", daemon=True)
        self._site = site
        self._pause = 1.0 / per_second
        self._end = end
        living = {agent.address for agent in site.fleet.live}
        self._known = {server: set(living) for server in site.servers}
        """What each server has listed before; another may list it a moment later."""
        self.lost: dict[str, float] = {}
        self.overlong: dict[str, float] = {}
        self.offered_for: dict[str, float] = {}

    def run(self) -> None:
        while not self._end.wait(self._pause):
            for server in self._site.serving:
                self._look(server)

    def _look(self, server: ShoalServer) -> None:
        before = {agent.address: agent for agent in self._site.fleet.live}
        asked = time.monotonic()
        try:
            _, body = ask(server, self._site.whole_list)
        except (OSError, http.client.HTTPException):
            return  # the lookups count that
        told = time.monotonic()
        offered, known = self._site.offered_in(body), self._known[server]
        for address, agent in before.items():
            if address in offered:
                known.add(address)
            elif address in known and agent.life is Life.LIVE:
                self.lost.setdefault(address, asked)
        for agent in self._site.fleet.agents:
            if agent.ended is not None and agent.address in offered:
                self._judge(agent, asked, told)

    def _judge(self, agent: Agent, asked: float, told: float) -> None:
        since, promised = self.promise(agent)
        self.offered_for[agent.address] = told - since
        if asked - since > promised:
            self.overlong[agent.address] = asked - since

    def promise(self, agent: Agent) -> tuple[float, float]:
        """From when on, and for how long, it may still be offered."""
        ended = agent.ended or 0.0
        if agent.life is Life.DEAD:
            return agent.heard or ended, self._site.scale.dead_after + SWEEP_SLACK
        return ended, MOVE_SECONDS if agent.life is Life.MOVED else LEAVE_SECONDS


def ask(server: ShoalServer, path: str) -> tuple[str, bytes]:
    """The declared state and the body of an answer; OSError or HTTPException when there is none."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=LOOKUP_SECONDS)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise http.client.HTTPException(f"status {answer.status}")
    return answer.getheader("X-Shoal-State", ""), body
