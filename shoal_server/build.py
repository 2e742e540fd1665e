"""Puts the parts of a server together: the one place that names a store, a locator and an intake."""

import ctypes
import functools
import gc
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from shoal_common.amqp import Broker, Tls, listener_context
from shoal_common.errors import SettingsError
from shoal_common.hosts import HostPort, is_loopback, redacted
from shoal_common.probe import Target
from shoal_common.program import log_to_stderr
from shoal_server.geoip import GeoIP
from shoal_server.historian import Historian
from shoal_server.history import History, HistoryStore
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
from shoal_server.stores.history_memory import MemoryHistory
from shoal_server.stores.history_redis import RedisHistory
from shoal_server.stores.memory import MemoryStore
from shoal_server.stores.redis import RedisStore
from shoal_server.stores.statefile import StateFile
from shoal_server.sweeper import Sweeper
from shoal_server.verifier import CheckRules, Origins, Verifier
from shoal_server.vitals import vitals
from shoal_server.web import application
from shoal_server.web.backend import Backend, Ending
from shoal_server.web.counts import LookupCounts
from shoal_server.web.serving import HttpServer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from shoal_server.domains import ReverseDomains
    from shoal_server.web.processes import WebProcesses

SHARED_QUEUE = "shoal-heartbeats"
RESTART_SECONDS = 1.0

log = logging.getLogger(__name__)


class Role(StrEnum):
    """What a server process does; one does all unless told otherwise."""

    WEB = "web"
    INTAKE = "intake"
    VERIFY = "verify"


_M_ARENA_MAX = -8  # mallopt(3)


def _freeze() -> None:
    """Spare the collector what lasts as long as the process: code, and the squids that were there at first.

    To look through all of it takes some 50 ms, during which nobody is answered. Where the C library knows how
    (glibc), what only the start needed goes back to the system, and threads get no heaps of their own: they
    take turns anyway, and each heap has gaps.
    """
    gc.collect()
    gc.freeze()
    library = ctypes.CDLL(None)
    if trim := getattr(library, "malloc_trim", None):
        trim(0)
        library.mallopt(_M_ARENA_MAX, 1)


class Loop(Protocol):
    """Work that goes on in a thread of its own."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""


class Http(Protocol):
    """What answers over HTTP, in this process or in others."""

    @property
    def port(self) -> int:
        """Where it listens."""

    def serve(self, stop: threading.Event) -> None:
        """Answer until `stop` is set."""


@dataclass(frozen=True, slots=True)
class Server:
    """The parts of a server process; those of roles that it does not have are None."""

    http: Http | None
    intake: Intake | None
    loops: tuple[Loop, ...]
    state: StateFile | None
    ending: Ending

    def run(self, stop: threading.Event) -> None:
        """Run until `stop` is set; answers requests in hand before it returns."""
        self.ending.stop = stop
        _freeze()
        if self.intake:
            self.intake.start()
        for loop in self.loops:
            _start(loop, stop)
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


def _start(loop: Loop, stop: threading.Event) -> None:
    name = type(loop).__name__
    threading.Thread(target=_keep_running, args=[loop, stop], name=name, daemon=True).start()


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
    check_roles(settings, roles)
    answers = Role.WEB in roles
    if answers and settings.workers and len(set(roles)) == 1:
        return _web_alone(settings)
    parts = _assemble(settings, set(roles) - {Role.WEB} if settings.workers else set(roles))
    http: Http | None = None
    if answers and settings.workers:
        http = _web_processes(settings)
    elif answers:
        http = HttpServer(application(parts.backend), settings.listen)
    return Server(http, parts.ears.intake if parts.ears else None, parts.loops, parts.state, parts.ending)


def _web_alone(settings: ServerSettings) -> Server:
    """The process that starts those that answer has no need of a snapshot; it tells what is wrong at once."""
    _locator(settings)
    _store(settings)
    return Server(_web_processes(settings), None, (), None, Ending())


def web_application(settings: ServerSettings) -> "WSGIApplication":
    """What a process that only answers serves; its loops go on until the process ends."""
    log_to_stderr(settings.log_level)
    parts = _assemble(settings, {Role.WEB})
    _freeze()
    never = threading.Event()
    for loop in parts.loops:
        _start(loop, never)
    return application(parts.backend)


def _web_processes(settings: ServerSettings) -> "WebProcesses":
    try:
        from shoal_server.web.processes import WebProcesses  # noqa: PLC0415 - what it needs is optional
    except ImportError as error:
        raise SettingsError([f"[http] workers: {error}; install shoal[fast]"]) from None
    return WebProcesses(settings.listen, settings.workers, functools.partial(web_application, settings))


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the roles of a process are made of."""

    backend: Backend
    ears: "_Ears | None"
    loops: tuple[Loop, ...]
    state: StateFile | None
    ending: Ending


def _assemble(settings: ServerSettings, roles: Collection[Role]) -> _Parts:
    locator, domains = _locator(settings)
    store, state = _store(settings)
    registry = Registry(store, LivenessRules(settings.suspect_after, settings.dead_after))
    keeper = SnapshotKeeper(registry, locator, verify=settings.verify, rank_by=settings.policy)
    keeper.refresh(keeper.now())  # before anybody can ask: an empty answer would look like the truth
    loops: list[Loop] = [keeper, locator]
    loops += [loop for loop in (domains, state) if loop]
    verifier = _verifier(settings, keeper, registry) if Role.VERIFY in roles and settings.verify else None
    if verifier:
        loops.append(verifier)
    ears: _Ears | None = None
    if Role.INTAKE in roles:
        ears = _Ears.of(settings, registry, keeper, locator, lambda: reporter.written)
        loops.append(ears.sweeper)
    counts = LookupCounts()
    myself = _Myself(_own_name(), keeper, ears, verifier, counts)
    reporter = Reporter(store, myself.report, myself.completed)
    history = _history(settings, store)
    loops.append(reporter)
    if ears:  # the history needs one who looks at all squids; every deployment has an intake
        loops.append(Historian(keeper, store, history, verify=settings.verify))
    ending = Ending()
    backend = Backend(
        lookup=Lookup(keeper, locator, verify=settings.verify, open_all=settings.open_all),
        keeper=keeper,
        liveness=registry.rules,
        reporter=reporter,
        drain=registry.drain,
        history=History(history, verify=settings.verify),
        counts=counts,
        ending=ending,
        located=lambda address: locator.locate(address) is not None,
        geoip_built=lambda: locator.built,
        attributions=lambda: locator.attributions,
        forget=registry.forget,
        trusted_proxies=settings.trusted_proxies,
        operator_token=settings.operator_token,
    )
    return _Parts(backend, ears, tuple(loops), state, ending)


def check_roles(settings: ServerSettings, roles: Collection[Role]) -> None:
    """Raises SettingsError when these roles cannot work with this store."""
    if len(set(roles)) < len(Role) and settings.store.startswith("memory:"):
        raise SettingsError(["[store] url: servers that share the work need a Redis between them"])
    if Role.WEB in roles and settings.workers and settings.store.startswith("memory:"):
        raise SettingsError(["[http] workers: processes of their own need a Redis between them: [store] url"])


@dataclass(frozen=True, slots=True)
class _Ears:
    """What takes heartbeats in, and what decides when their absence means something."""

    reception: Reception
    intake: Intake
    sweeper: Sweeper
    stores: Callable[[], bool]
    """Whether a heartbeat that reaches us would be stored."""

    @classmethod
    def of(
        cls,
        settings: ServerSettings,
        registry: Registry,
        keeper: SnapshotKeeper,
        locator: GeoIP,
        written: Callable[[], float],
    ) -> "_Ears":
        """`written`: when the store last took something else (s since 1970, by its clock)."""

        def room() -> int:
            return settings.most_squids - len(keeper.current.listed) - len(keeper.absent)

        reception = Reception(registry, locator.placed, keeper.peers, room, keeper.absent)
        intake = make_intake(settings, reception)

        def stores() -> bool:
            return reception.stores(written())

        def hears() -> bool:
            return intake.connected and keeper.stale_since is None and stores()

        sweeper = Sweeper(registry, keeper, HoldRules(cap=settings.hold_cap), hears)
        return cls(reception, intake, sweeper, stores)


@dataclass(frozen=True, slots=True)
class _Myself:
    """What this process has to report."""

    name: str
    keeper: SnapshotKeeper
    ears: _Ears | None
    verifier: Verifier | None
    counts: LookupCounts

    def report(self, now: float) -> Report:
        return Report(
            server=self.name,
            at=now,
            connected=self.ears is not None and self._reached(self.ears),
            held=self.ears is not None and self.ears.sweeper.silence.held,
            heartbeats=self.ears.reception.counts if self.ears else {},
        )

    def _reached(self, ears: _Ears) -> bool:
        """A store that answers and takes nothing makes us deaf; of one that is away, the keeper tells."""
        return ears.intake.connected and (self.keeper.stale_since is not None or ears.stores())

    def completed(self, report: Report) -> Report:
        """With what is not needed for every answer."""
        since, now = self.keeper.stale_since, report.at
        return replace(
            report,
            checks=self.verifier.counts if self.verifier else {},
            lookups=self.counts.lookups(),
            vitals=vitals(),
            stale_seconds=0.0 if since is None else max(0.0, now - since),
            snapshot_seconds=max(0.0, now - self.keeper.followed),
        )


def _own_name() -> str:
    """No two processes have the same, nor one before and after a restart."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def _locator(settings: ServerSettings) -> tuple[GeoIP, "ReverseDomains | None"]:
    domains = reverse_domains(settings) if settings.reverse_dns else None
    return GeoIP(settings.locations, settings.geoip, domains, settings.networks), domains


def reverse_domains(settings: ServerSettings) -> "ReverseDomains":
    """What looks up names by reverse DNS; raises SettingsError where that is not installed."""
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


def _history(settings: ServerSettings, store: MemoryStore | RedisStore) -> HistoryStore:
    if isinstance(store, MemoryStore):
        return MemoryHistory(store.log)
    return RedisHistory.from_url(settings.store)


def make_intake(settings: ServerSettings, reception: Reception) -> Intake:
    """The way in that the settings name, not started yet; raises SettingsError."""
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
    if not (named or settings.anonymous or is_loopback(place.host)):
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


def _verifier(settings: ServerSettings, keeper: SnapshotKeeper, registry: Registry) -> Verifier:
    origins = Origins(
        cvmfs=tuple(Target.cvmfs(url) for url in settings.cvmfs_urls),
        frontier=tuple(Target.frontier(url) for url in settings.frontier_urls),
    )
    rules = CheckRules(interval=settings.verify_interval, timeout=settings.verify_timeout)
    return Verifier(keeper, registry, origins, rules)
