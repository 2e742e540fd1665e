"""Puts the parts of a server together: the one place that names a store, a locator and an intake."""

import ipaddress
import logging
import os
import secrets
import socket
import threading
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from shoal_common.amqp import Broker, Tls, listener_context
from shoal_common.errors import SettingsError
from shoal_common.hosts import HostPort, redacted
from shoal_common.probe import Target
from shoal_server.geoip import GeoIP
from shoal_server.hold import HoldRules
from shoal_server.intake.embedded import Credentials, EmbeddedIntake
from shoal_server.intake.rabbitmq import RabbitMQIntake
from shoal_server.intake.reception import Intake, Reception
from shoal_server.lookup import Lookup
from shoal_server.registry import Registry
from shoal_server.reports import Report, Reporter
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

if TYPE_CHECKING:
    from shoal_server.domains import ReverseDomains

SHARED_QUEUE = "shoal-heartbeats"
RESTART_SECONDS = 1.0

log = logging.getLogger(__name__)


class Role(StrEnum):
    """What a server process does; one does all unless told otherwise."""

    WEB = "web"
    INTAKE = "intake"
    VERIFY = "verify"


class Loop(Protocol):
    """Work that goes on in a thread of its own."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""


@dataclass(frozen=True, slots=True)
class Server:
    """The parts of a server process; those of roles that it does not have are None."""

    http: HttpServer | None
    intake: Intake | None
    loops: tuple[Loop, ...]
    state: StateFile | None

    def run(self, stop: threading.Event) -> None:
        """Run until `stop` is set; answers requests in hand before it returns."""
        if self.intake:
            self.intake.start()
        for loop in self.loops:
            name = type(loop).__name__
            threading.Thread(target=_keep_running, args=[loop, stop], name=name, daemon=True).start()
        try:
            if self.http:
                self.http.serve(stop)
            stop.wait()
        finally:
            stop.set()
            if self.intake:
                self.intake.stop()
            if self.state:
                self.state.save()


def _keep_running(loop: Loop, stop: threading.Event) -> None:
    """A defect in one part is logged, and must not take that part away for good."""
    while not stop.is_set():
        try:
            loop.run(stop)
        except Exception:
            log.exception("%s failed and is started again", type(loop).__name__)
            stop.wait(RESTART_SECONDS)


def build(settings: ServerSettings, roles: Collection[Role]) -> Server:
    """Put a server together; raises SettingsError or Unavailable for what can never work."""
    if len(set(roles)) < len(Role) and settings.store.startswith("memory:"):
        raise SettingsError(["[store] url: servers that share the work need a Redis between them"])
    domains = _domains(settings) if settings.reverse_dns else None
    locator = GeoIP(settings.locations, settings.geoip, domains)
    store, state = _store(settings)
    registry = Registry(store, LivenessRules(settings.suspect_after, settings.dead_after))
    keeper = SnapshotKeeper(registry, locator, verify=settings.verify)
    keeper.refresh(keeper.now())  # before anybody can ask: an empty answer would look like the truth
    loops: list[Loop] = [keeper, locator]
    loops += [loop for loop in (domains, state) if loop]
    if Role.VERIFY in roles and settings.verify:
        loops.append(_verifier(settings, keeper, registry))
    ears = _Ears.of(settings, registry, keeper, locator) if Role.INTAKE in roles else None
    if ears:
        loops.append(ears.sweeper)
    reporter = Reporter(store, ears.report if ears else None)
    loops.append(reporter)
    http = None
    if Role.WEB in roles:
        backend = Backend(
            lookup=Lookup(keeper, locator, verify=settings.verify, open_all=settings.open_all),
            keeper=keeper,
            liveness=registry.rules,
            reporter=reporter,
            drain=registry.drain,
            trusted_proxies=settings.trusted_proxies,
            operator_token=settings.operator_token,
        )
        http = HttpServer(create_app(backend), settings.listen)
    return Server(http, ears.intake if ears else None, tuple(loops), state)


@dataclass(frozen=True, slots=True)
class _Ears:
    """What takes heartbeats in, and what decides when their absence means something."""

    name: str
    reception: Reception
    intake: Intake
    sweeper: Sweeper

    @classmethod
    def of(
        cls, settings: ServerSettings, registry: Registry, keeper: SnapshotKeeper, locator: GeoIP
    ) -> "_Ears":
        reception = Reception(registry, locator.placed)
        intake = _intake(settings, reception)

        def hears() -> bool:
            return intake.connected and keeper.stale_since is None and reception.storing

        sweeper = Sweeper(registry, keeper, HoldRules(cap=settings.hold_cap), hears)
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        return cls(name, reception, intake, sweeper)

    def report(self, now: float) -> Report:
        return Report(self.name, now, self.intake.connected, self.sweeper.silence.held, self.reception.counts)


def _domains(settings: ServerSettings) -> "ReverseDomains":
    try:
        from shoal_server.domains import ReverseDomains  # noqa: PLC0415 - what it needs is optional
    except ImportError as error:
        raise SettingsError([f"[geo] reverse_dns: {error}; install shoal[domains]"]) from None
    return ReverseDomains(settings.name_servers)


def _store(settings: ServerSettings) -> tuple[MemoryStore | RedisStore, StateFile | None]:
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
    secure = parts.scheme == "embedded+tls"
    if problem := tls.unused(secure=secure):
        raise SettingsError([problem])
    named = parts.username and parts.password
    if not (named or settings.anonymous or _is_loopback(place.host)):
        open_door = f"[amqp] url: {redacted(settings.amqp)} would let anyone announce squids"
        raise SettingsError([f"{open_door}: give it user:password@, or say [amqp] anonymous = yes"])
    login = Credentials(unquote(parts.username or "guest"), unquote(parts.password or "guest"))
    return EmbeddedIntake(
        place.host,
        place.port,
        reception,
        exchange=settings.exchange,
        credentials=None if settings.anonymous else login,
        virtual_host=unquote(parts.path.removeprefix("/")) or None,
        ssl_context=listener_context(tls) if secure else None,
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
