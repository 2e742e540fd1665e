"""What a running agent costs its squid's VM at the default interval."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figure import Figure
from shoal_server.intake.embedded import EmbeddedIntake
from testbed.origin import Origin
from testbed.process import wait_until
from testbed.program import Program
from tests.agent.namespaces import Namespace, why_not
from tests.agent.there import SquidThere

WARM_UP_SECONDS = 5.0
SECONDS = 95.0
"""Three heartbeats of the default interval."""
_VM, _SITE, _PORT = "10.9.1.2", "10.9.1.1", 5672


def run(directory: Path) -> Iterator[Figure]:
    """Resident memory, share of a core, and bytes on the wire, beside one squid and beside three."""
    reason = why_not()
    if reason is not None:
        raise SystemExit(f"agent: not measured: {reason}")
    with ExitStack() as stack:
        machines = [Machine(stack, directory / str(squids), squids) for squids in (1, 3)]
        time.sleep(WARM_UP_SECONDS)
        before, began = [(each.cpu_seconds, each.wire_bytes) for each in machines], time.monotonic()
        time.sleep(SECONDS)
        seconds = time.monotonic() - began
        for machine, (cpu, wire) in zip(machines, before, strict=True):
            yield Figure(f"{machine}: resident memory", machine.resident_mb, "MB", 40.0)
            share = (machine.cpu_seconds - cpu) / seconds * 100
            yield Figure(f"{machine}: share of a core over {SECONDS:g} s", share, "%", 0.5)
            yield Figure(f"{machine}: on the wire", (machine.wire_bytes - wire) / seconds, "B/s", 1024.0)


class Machine:
    """A VM of its own with squids and an agent; a cable leads to its origin and its server.

    What goes over that cable is there because of the agent: nobody else uses its squids.
    """

    def __init__(self, stack: ExitStack, directory: Path, squids: int) -> None:
        self._squids = squids
        self._vm, site = Namespace(), Namespace()
        for namespace in (self._vm, site):
            stack.callback(namespace.close)
        self._vm.link("eth0", f"{_VM}/24", site, "lan", f"{_SITE}/24")
        self._vm.ip("route", "add", "default", "via", _SITE)
        self._heard: list[bytes] = []
        with site.inside():
            intake = EmbeddedIntake(_SITE, _PORT, self, credentials=None)
            intake.start()
            origin = Origin(host=_SITE).start()
        stack.callback(intake.stop)
        stack.callback(origin.stop)
        for number in range(squids):
            stack.enter_context(SquidThere(directory / f"squid{number}", self._vm, 3128 + number))
        object_url = f"{origin.url}/cvmfs/atlas.cern.ch/.cvmfspublished"
        flags = ["--amqp", f"amqp://{_SITE}:{_PORT}/", "--check-urls", object_url]
        self._agent = stack.enter_context(_AgentThere(directory / "agent", self._vm, flags))
        wait_until(lambda: len(self._heard) >= squids, 30.0, "the first heartbeats")

    def take(self, bodies: Sequence[bytes]) -> None:
        """What the listener hears."""
        self._heard += bodies

    def __str__(self) -> str:
        return "agent" if self._squids == 1 else f"agent beside {self._squids} squids"

    @property
    def cpu_seconds(self) -> float:
        """User and system time (proc(5), stat fields 14 and 15)."""
        fields = Path(f"/proc/{self._agent.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident_mb(self) -> float:
        """The agent's physical memory (proc(5), status)."""
        lines = Path(f"/proc/{self._agent.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

    @property
    def wire_bytes(self) -> int:
        """Received and sent over the cable, every header included (proc(5), net/dev)."""
        lines = Path(f"/proc/{self._agent.pid}/net/dev").read_text().splitlines()
        fields = next(line for line in lines if line.strip().startswith("eth0:")).partition(":")[2].split()
        return int(fields[0]) + int(fields[8])


class _AgentThere(Program):
    def __init__(self, directory: Path, namespace: Namespace, flags: Sequence[object]) -> None:
        super().__init__(directory, ["shoal_agent.cli"], flags)
        self._namespace = namespace

    def command(self) -> list[str]:
        return self._namespace.command(*super().command())
