"""`shoal-server`: the one place where the parts of a server are put together."""

import ipaddress
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from shoal_common.amqp import Broker, Tls, listener_context
from shoal_common.errors import SettingsError, ShoalError
from shoal_common.hosts import HostPort, redacted
from shoal_common.probe import Target
from shoal_common.program import BAD_SETTINGS, command_line, log_to_stderr, settings_of, stop_on_signals
from shoal_server.geoip import GeoIP
from shoal_server.hold import HoldRules
from shoal_server.intake.embedded import Credentials, EmbeddedIntake
from shoal_server.intake.rabbitmq import RabbitMQIntake
from shoal_server.intake.reception import Intake, Reception
from shoal_server.lookup import Lookup
from shoal_server.registry import Registry, Store
from shoal_server.settings import ServerSettings
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import LivenessRules
from shoal_server.stores.memory import MemoryStore
from shoal_server.stores.redis import RedisStore
from shoal_server.stores.statefile import StateFile
from shoal_server.sweeper import Sweeper
from shoal_server.verifier import CheckRules, Origins, Verifier
from shoal_server.web import create_app
from shoal_server.web.backend import Backend
from shoal_server.web.serving import HttpServer

NAME = "shoal-server"
SHARED_QUEUE = "shoal-heartbeats"
CANNOT_RUN = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Server:
    """The parts of a running server."""

    http: HttpServer
    intake: Intake
    keeper: SnapshotKeeper
    sweeper: Sweeper
    verifier: Verifier | None
    state: StateFile | None

    def run(self) -> None:
        """Run until SIGTERM or Ctrl-C; answers requests in hand before it returns."""
        stop = stop_on_signals()
        self.intake.start()
        for loop in (self.keeper, self.sweeper, self.verifier, self.state):
            if loop is not None:
                threading.Thread(target=loop.run, args=[stop], name=type(loop).__name__, daemon=True).start()
        try:
            self.http.serve(stop)
        finally:
            stop.set()
            self.intake.stop()
            if self.state:
                self.state.save()


def build(settings: ServerSettings) -> Server:
    """Put a server together; raises SettingsError or Unavailable for what can never work."""
    locator = GeoIP.open(settings.locations, settings.geoip)
    store, state = _store(settings)
    registry = Registry(store, LivenessRules(settings.suspect_after, settings.dead_after))
    reception = Reception(registry, locator.placed)
    intake = _intake(settings, reception)
    keeper = SnapshotKeeper(registry, locator)
    sweeper = Sweeper(
        registry,
        keeper,
        HoldRules(cap=settings.hold_cap),
        lambda: intake.connected and keeper.stale_since is None and reception.storing,
    )
    backend = Backend(
        lookup=Lookup(keeper, locator, verify=settings.verify),
        keeper=keeper,
        liveness=registry.rules,
        connected=lambda: intake.connected,
        held=lambda: sweeper.silence.held,
        heartbeats=lambda: reception.counts,
        drain=registry.drain,
        trusted_proxies=settings.trusted_proxies,
        operator_token=settings.operator_token,
    )
    return Server(
        http=HttpServer(create_app(backend), settings.listen),
        intake=intake,
        keeper=keeper,
        sweeper=sweeper,
        verifier=_verifier(settings, keeper, registry) if settings.verify else None,
        state=state,
    )


def _store(settings: ServerSettings) -> tuple[Store, StateFile | None]:
    if not settings.store.startswith("memory:"):
        return RedisStore.from_url(settings.store), None
    store = MemoryStore()
    path = urlsplit(settings.store).path
    if not path:
        return store, None
    state = StateFile(store, Path(path))
    state.load()
    return store, state


def _intake(settings: ServerSettings, reception: Reception) -> Intake:
    tls = Tls(settings.ca_file, settings.cert_file, settings.key_file)
    if settings.amqp.startswith("embedded"):
        return _embedded(settings, tls, reception)
    queue = settings.queue or (None if settings.store.startswith("memory:") else SHARED_QUEUE)
    broker = Broker.parse(settings.amqp, tls)
    return RabbitMQIntake(broker, reception, exchange=settings.exchange, shared_queue=queue)


def _embedded(settings: ServerSettings, tls: Tls, reception: Reception) -> EmbeddedIntake:
    parts = urlsplit(settings.amqp)
    try:
        place = HostPort.parse(parts.netloc.rpartition("@")[2], 5672)
    except ValueError as error:
        raise SettingsError([f"[amqp] url: {redacted(settings.amqp)}: {error}"]) from None
    named = parts.username and parts.password
    if not (named or settings.anonymous or _is_loopback(place.host)):
        open_door = f"[amqp] url: {settings.amqp} would let anyone announce squids"
        raise SettingsError([f"{open_door}: give it user:password@, or say [amqp] anonymous = yes"])
    login = Credentials(unquote(parts.username or "guest"), unquote(parts.password or "guest"))
    return EmbeddedIntake(
        place.host,
        place.port,
        reception,
        exchange=settings.exchange,
        credentials=None if settings.anonymous else login,
        virtual_host=unquote(parts.path.removeprefix("/")) or None,
        ssl_context=listener_context(tls) if parts.scheme == "embedded+tls" else None,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _verifier(settings: ServerSettings, keeper: SnapshotKeeper, registry: Registry) -> Verifier:
    origins = Origins(
        cvmfs=tuple(Target.cvmfs(url) for url in settings.cvmfs_urls),
        frontier=tuple(Target.frontier(url) for url in settings.frontier_urls),
    )
    rules = CheckRules(interval=settings.verify_interval, timeout=settings.verify_timeout)
    return Verifier(keeper, registry, origins, rules)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a server; the exit code is 0 after an orderly end."""
    args = command_line(NAME, "Tracks squids and tells workers which are near.", ServerSettings).parse_args(
        argv
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        loaded = settings_of(ServerSettings, NAME, args, os.environ)
        log_to_stderr(loaded.settings.log_level)
        for warning in loaded.warnings:
            log.warning("%s", warning)
        server = build(loaded.settings)
        log.info(
            "listening on port %d for HTTP; heartbeats from %s",
            server.http.port,
            redacted(loaded.settings.amqp),
        )
        server.run()
    except SettingsError as error:
        print(f"{NAME}: {error}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return BAD_SETTINGS
    except ShoalError as error:
        print(f"{NAME}: {error}", file=sys.stderr)  # noqa: T201
        return CANNOT_RUN
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
