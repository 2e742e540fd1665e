"""A private RabbitMQ broker with its own Erlang port mapper."""

import os
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from testbed.ports import accepts, first_bytes, free_port, free_ports
from testbed.process import Missing, Service

_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"  # 0-9-1, as every client opens (AMQP 0-9-1 §4.2.2)
_METHOD_FRAME = b"\x01"


@dataclass(frozen=True, slots=True)
class Tls:
    """Files (PEM) of a broker that also speaks TLS; `demand_client` asks clients for a certificate."""

    ca: Path
    certificate: Path
    key: Path
    demand_client: bool = False


class Epmd(Service):
    """The Erlang port mapper in the foreground, so that the broker starts no daemon of its own."""

    program = "epmd"
    package = "erlang-base"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()

    def command(self) -> list[str]:
        return [self.executable(), "-port", str(self.port), "-address", "127.0.0.1"]

    def is_ready(self) -> bool:
        return accepts("127.0.0.1", self.port)


class RabbitMQ(Service):
    """One RabbitMQ node on 127.0.0.1, run without systemd, root or the system's own configuration."""

    program = "rabbitmq-server"
    package = "rabbitmq-server"
    ready_within = 60.0
    ends_within = 15.0

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        tls: Tls | None = None,
        epmd: Epmd | None = None,
        cookie: str | None = None,
    ) -> None:
        """Nodes that are to form a cluster are given one port mapper, which runs, and one cookie."""
        super().__init__(directory)
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self.tls = tls
        self.tls_port, self._distribution_port = free_ports(2)
        self.node = f"shoal{secrets.token_hex(4)}@localhost"
        self._shares_epmd = epmd is not None
        self._epmd = epmd or Epmd(directory)
        self._cookie = cookie or secrets.token_hex(16)

    @classmethod
    def executable(cls) -> str:
        # The wrapper in /usr/sbin switches to the user rabbitmq and to /var: the scripts beneath do not.
        script = Path("/usr/lib/rabbitmq/bin") / cls.program
        if not script.exists():
            raise Missing(cls.program, cls.package)
        return str(script)

    @classmethod
    def available(cls) -> bool:
        return (Path("/usr/lib/rabbitmq/bin") / cls.program).exists() and Epmd.available()

    @property
    def url(self) -> str:
        """The URL of the default virtual host."""
        return self.vhost_url("/")

    @property
    def tls_url(self) -> str:
        """The URL of the TLS port; its certificate has to name 127.0.0.1 or localhost."""
        return f"amqps://guest:guest@localhost:{self.tls_port}/%2F"

    def vhost_url(self, vhost: str) -> str:
        """The URL of a virtual host."""
        return f"amqp://guest:guest@{self.host}:{self.port}/{quote(vhost, safe='')}"

    def ctl(self, *arguments: str, within: float = 60.0) -> str:
        """Run rabbitmqctl against this broker and return what it prints.

        Raises:
            subprocess.CalledProcessError: it failed; `stderr` says why.
            subprocess.TimeoutExpired: it took longer than `within` seconds.
        """
        return subprocess.run(
            ["/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", "-n", self.node, *arguments],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=within,
        ).stdout

    def add_vhost(self, name: str) -> str:
        """Make a virtual host that guest may use, and return its URL."""
        self.ctl(
            "eval",
            f'rabbit_vhost:add(<<"{name}">>, <<"guest">>), rabbit_auth_backend_internal:set_permissions('
            f'<<"guest">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"guest">>).',
        )
        return self.vhost_url(name)

    def delete_vhost(self, name: str) -> None:
        """Remove a virtual host; its connections are closed by the broker."""
        self.ctl("delete_vhost", name)

    def join(self, other: "RabbitMQ") -> None:
        """Become a node of the cluster that `other` is in; what it held is forgotten."""
        for command in (("stop_app",), ("join_cluster", other.node), ("start_app",)):
            self.ctl(*command)

    def prepare(self) -> None:
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        cookie = home / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(self._cookie)
            cookie.chmod(0o400)
        (self.directory / "plugins").write_text("[].\n")
        (self.directory / "rabbitmq.conf").write_text(self._configuration())
        self._epmd.start()

    def command(self) -> list[str]:
        return [self.executable()]

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        at = self.directory
        return kept | {
            "HOME": str(at / "home"),
            "RUNNING_UNDER_SYSTEMD": "1",  # the script then becomes the broker instead of its parent
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(at / "mnesia"),
            "RABBITMQ_LOG_BASE": str(at / "log"),
            "RABBITMQ_CONFIG_FILE": str(at / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(at / "plugins"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd.port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}"
            ),
            # With a scheduler a core rabbitmqctl takes half a minute, not half a second, on a busy machine.
            "RABBITMQ_CTL_ERL_ARGS": "+S 1:1 +SDio 1 +sbwt none +sbwtdcpu none +sbwtdio none",
        }

    def is_ready(self) -> bool:
        return first_bytes(self.host, self.port, _PROTOCOL_HEADER).startswith(_METHOD_FRAME)

    def tidy(self) -> None:
        if not self._shares_epmd:
            self._epmd.stop()

    def _configuration(self) -> str:
        lines = ["log.console = true", "log.console.level = warning", "log.file = false"]
        if self.tls is not None:
            lines += [
                f"listeners.ssl.1 = {self.host}:{self.tls_port}",
                f"ssl_options.cacertfile = {self.tls.ca}",
                f"ssl_options.certfile = {self.tls.certificate}",
                f"ssl_options.keyfile = {self.tls.key}",
                f"ssl_options.verify = {'verify_peer' if self.tls.demand_client else 'verify_none'}",
                f"ssl_options.fail_if_no_peer_cert = {'true' if self.tls.demand_client else 'false'}",
            ]
        return "\n".join(lines) + "\n"
