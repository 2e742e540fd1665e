"""Caches on another machine: in a network namespace."""

from pathlib import Path

from testbed.ports import accepts
from testbed.process import Service
from testbed.squid import Squid
from tests.agent.namespaces import Namespace


class There(Service):
    """A service with a `port`, to be mixed in: on another machine."""

    port: int
    _namespace: Namespace

    def command(self) -> list[str]:
        return self._namespace.command(*super().command())  # type: ignore[safe-super]  # the service's own

    def is_ready(self) -> bool:
        with self._namespace.inside():
            return accepts("127.0.0.1", self.port)


class SquidThere(There, Squid):
    """Listens on all addresses of its machine, for that machine and those on 10.9.0.0/16."""

    def __init__(self, directory: Path, namespace: Namespace, port: int = 3128) -> None:
        super().__init__(directory, port=port, listen=["0.0.0.0"], clients=["127.0.0.0/8", "10.9.0.0/16"])
        self._namespace = namespace
