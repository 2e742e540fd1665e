"""Private Redis servers: alone, a master with its replica and sentinel, or a cluster."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from testbed.ports import first_bytes, free_port
from testbed.process import Service, wait_until
from testbed.rabbitmq import Tls

_SLOTS = 16384
_FAIL_OVER_MS = 500
"""How long a sentinel waits for a master that does not answer."""


class Redis(Service):
    """Redis on 127.0.0.1; with `persistent` its data survives `kill` and `restart` (append-only file).

    With `tls` it also speaks TLS; as `replica_of` another one it follows that one from its start on.
    """

    program = "redis-server"
    package = "redis-server"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        persistent: bool = False,
        tls: Tls | None = None,
        replica_of: "Redis | None" = None,
    ) -> None:
        super().__init__(directory)
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self.tls_port = free_port() if tls else 0
        self.persistent = persistent
        self._tls = tls
        self._master = replica_of

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://{self.host}:{self.port}/0"

    @property
    def tls_url(self) -> str:
        """The URL of database 0 by TLS; its certificate has to name 127.0.0.1."""
        return f"rediss://{self.host}:{self.tls_port}/0"

    def command(self) -> list[str]:
        return [
            self.executable(),
            *("--port", str(self.port), "--bind", self.host, "--daemonize", "no"),
            *("--save", "", "--dir", str(self.directory), "--databases", "64"),
            *("--appendonly", "yes" if self.persistent else "no", "--appendfsync", "always"),
            *self._tls_options(),
            *self._replica_options(),
        ]

    def is_ready(self) -> bool:
        return first_bytes(self.host, self.port, b"PING\r\n").startswith(b"+PONG")

    def role(self) -> str:
        """What it is at the moment, in Redis's words: master or slave."""
        return str(self.told("ROLE")[0])

    def follows(self) -> bool:
        """Whether it is a replica that has all data of its master."""
        return "connected" in self.told("ROLE")[3:4]

    def told(self, *command: object) -> Any:
        """The answer to a command."""
        with redis.Redis(self.host, self.port, decode_responses=True, socket_timeout=5.0) as client:
            return client.execute_command(*command)

    def _tls_options(self) -> list[str]:
        if self._tls is None:
            return []
        files = {"ca-cert": self._tls.ca, "cert": self._tls.certificate, "key": self._tls.key}
        options = [word for name, file in files.items() for word in (f"--tls-{name}-file", str(file))]
        demand = "yes" if self._tls.demand_client else "no"
        own = ["--tls-port", str(self.tls_port), "--tls-auth-clients", demand, "--tls-replication", "yes"]
        return [*own, *options]

    def _replica_options(self) -> list[str]:
        if self._master is None:
            return []
        return ["--replicaof", f"{self._master.host} {self._master.tls_port or self._master.port}"]


class Sentinel(Redis):
    """Watches a master by the name `shoal`, and alone decides that its replica takes over."""

    name = "shoal"

    def __init__(self, directory: Path, master: Redis, *, tls: Tls | None = None) -> None:
        super().__init__(directory, tls=tls)
        self._file = directory / "sentinel.conf"
        self._watched = master

    @property
    def url(self) -> str:
        """The URL by which a client finds whoever is master now."""
        return f"redis+sentinel://{self.host}:{self.port}/{self.name}/0"

    @property
    def tls_url(self) -> str:
        """The same, with TLS to the sentinel and to the master."""
        return f"rediss+sentinel://{self.host}:{self.tls_port}/{self.name}/0"

    def prepare(self) -> None:
        if self._file.exists():  # it keeps what it has learned there
            return
        port = self._watched.tls_port or self._watched.port
        watch = f"sentinel monitor {self.name} {self._watched.host} {port} 1"
        waits = f"down-after-milliseconds {self.name} {_FAIL_OVER_MS}"
        ends = f"failover-timeout {self.name} 5000"
        self._file.write_text(f"{watch}\nsentinel {waits}\nsentinel {ends}\n")

    def command(self) -> list[str]:
        place = ("--port", str(self.port), "--bind", self.host, "--dir", str(self.directory))
        return [self.executable(), str(self._file), "--sentinel", *place, *self._tls_options()]

    def replicas(self) -> int:
        """How many replicas of the master it could promote."""
        return len(self.told("SENTINEL", "REPLICAS", self.name))


class _Node(Redis):
    """One node of a cluster; its bus has a port of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.bus_port = free_port()

    def command(self) -> list[str]:
        own = ("--cluster-enabled", "yes", "--cluster-port", str(self.bus_port))
        alone = [word for word in super().command() if word not in ("--databases", "64")]
        return [*alone, *own]


class RedisCluster:
    """Masters that share the slots between them."""

    def __init__(self, directory: Path, nodes: int = 3) -> None:
        self.nodes = [_Node(directory / f"node{number}") for number in range(nodes)]

    @property
    def url(self) -> str:
        """The URL of one node, from which a client learns of the others."""
        return f"redis+cluster://{self.nodes[0].host}:{self.nodes[0].port}"

    def clear(self) -> None:
        """Forget all data."""
        for node in self.nodes:
            node.told("FLUSHALL")

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start()
        share = -(-_SLOTS // len(self.nodes))
        for number, node in enumerate(self.nodes):
            last = min((number + 1) * share, _SLOTS) - 1
            node.told("CLUSTER", "ADDSLOTSRANGE", number * share, last)
            node.told("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            self.nodes[0].told("CLUSTER", "MEET", node.host, node.port, node.bus_port)
        wait_until(lambda: all(self._is_whole(node) for node in self.nodes), 20.0, "the cluster is whole")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.stop()

    def _is_whole(self, node: Redis) -> bool:
        told = str(node.told("CLUSTER", "INFO"))
        return "cluster_state:ok" in told and f"cluster_known_nodes:{len(self.nodes)}" in told
