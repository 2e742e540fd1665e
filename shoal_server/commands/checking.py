"""`check-config`: everything that a server would refuse, found without running one.

Settings are read as the server reads them, and the files that they name are opened. Nothing is asked
over the network, nothing is bound and nothing is written.
"""

import argparse
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shoal_common.amqp import Broker, Tls
from shoal_common.errors import SettingsError
from shoal_common.program import BAD_SETTINGS, read_settings
from shoal_server.build import Role, check_roles, make_intake, reverse_domains
from shoal_server.commands.command import PROGRAM, Answer, Call, Command
from shoal_server.commands.plain import safe
from shoal_server.databases import open_database
from shoal_server.intake.reception import Reception
from shoal_server.locations import LocationTable
from shoal_server.networks import read_networks
from shoal_server.registry import Registry
from shoal_server.settings import ServerSettings
from shoal_server.squid import LivenessRules
from shoal_server.stores import redis_url
from shoal_server.stores.memory import MemoryStore
from shoal_server.stores.statefile import StateFile


@dataclass(frozen=True, slots=True)
class Check:
    """Something to be tried: `run` raises SettingsError, `key` is to blame, and `needs` are the settings (as
    fields) without which nothing can be said.
    """

    key: str
    run: Callable[[], object]
    needs: frozenset[str]

    @classmethod
    def of(cls, key: str, run: Callable[[], object], *needs: str) -> "Check":
        return cls(key, run, frozenset(needs))


INTAKE = ("amqp", "anonymous", "exchange", "queue", "ca_file", "cert_file", "key_file", "store")
"""The settings that broker or listener depend on."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "roles", nargs="*", metavar="ROLE", type=_role, help="the roles that the server is to have"
    )


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(Role)}") from None


def _check(call: Call) -> Answer:
    logging.disable()  # what the parts would tell a running server's log is told here as a mistake
    reading = read_settings(ServerSettings, PROGRAM, call.args, call.environ)
    loaded, wrong = reading.loaded, reading.wrong
    checks = _checks(loaded.settings, call.args.roles or list(Role))
    found = _mistakes(check for check in checks if wrong.isdisjoint(check.needs))
    origin = partial(_with_origin, call, loaded.path)
    doubts = [] if reading.mistakes else _doubts(loaded.settings)
    notes = [*loaded.warnings, *map(origin, doubts)]
    return _answer(loaded.path, notes, [*reading.mistakes, *map(origin, found)])


def _mistakes(checks: Iterable[Check]) -> Iterator[str]:
    for check in checks:
        try:
            check.run()
        except SettingsError as error:
            yield from (text if text.startswith("[") else f"{check.key}: {text}" for text in error.mistakes)


def _with_origin(call: Call, path: Path | None, text: str) -> str:
    """What is said of a `[section] key`, with the flag, variable or file that the value came from."""
    options = {f"[{option.section}] {option.key}": option for option in ServerSettings.options()}
    option = options.get(text.partition(":")[0])
    if option and getattr(call.args, option.name) is not None:
        return f"{option.flags[-1]}: {text}"
    if option and call.environ.get(option.variable):
        return f"{option.variable}: {text}"
    return f"{path}: {text}" if path else text


def _checks(settings: ServerSettings, roles: Collection[Role]) -> Iterator[Check]:
    """What is to be tried."""
    yield Check.of("[store] url", partial(check_roles, settings, roles), "store", "workers")
    if settings.locations:
        yield Check.of("[geo] locations", partial(LocationTable.read, settings.locations), "locations")
    for database in settings.geoip:
        yield Check.of("[geo] databases", partial(open_database, database), "geoip")
    for networks in settings.networks:
        yield Check.of("[geo] networks", partial(read_networks, networks), "networks")
    if Role.WEB in roles and settings.workers:
        yield Check.of("[http] workers", _workers, "workers")
    if settings.reverse_dns:
        needs = "reverse_dns", "name_servers"
        yield Check.of("[geo] reverse_dns", partial(reverse_domains, settings), *needs)
    if not settings.store.startswith("memory:"):
        yield Check.of("[store] url", partial(_redis, settings.store), "store")
    elif (state := _state(settings)) and state.parent.exists():
        yield Check.of("[store] url", StateFile(MemoryStore(), state).load, "store")
    if Role.INTAKE in roles:
        yield Check.of("[amqp] url", partial(_intake, settings), *INTAKE)


def _redis(url: str) -> None:
    redis_url.check(url)
    redis_url.check_files(url)


def _workers() -> None:
    if find_spec("granian") is None:
        raise SettingsError(["[http] workers: granian is not installed; install shoal[fast]"])


def _intake(settings: ServerSettings) -> None:
    """Broker or listener, with their certificates."""
    make_intake(settings, Reception(Registry(MemoryStore(), LivenessRules()), lambda _: False))
    if settings.amqp.startswith("amqps:"):
        tls = Tls(settings.ca_file, settings.cert_file, settings.key_file)
        next(Broker.parse(settings.amqp, tls).parameters(PROGRAM))


def _state(settings: ServerSettings) -> Path | None:
    path = urlsplit(settings.store).path
    return Path(path) if path else None


def _doubts(settings: ServerSettings) -> list[str]:
    """What a server accepts, and an operator may not have meant."""
    doubts = []
    if settings.suspect_after >= settings.dead_after:
        doubts.append("[squids] suspect_after: not below dead_after, so no squid is ever shown as suspect")
    if settings.store.startswith("memory:") and (path := _state(settings)) and not path.parent.exists():
        doubts.append(f"[store] url: {path.parent} is not there yet; the server needs it")
    if not settings.geoip and not settings.locations:
        doubts.append("[geo] databases: neither these nor a location table: all squids count as equally far")
    return doubts


def _answer(path: Path | None, warnings: Sequence[str], mistakes: Sequence[str]) -> Answer:
    read = str(path) if path else "no file (defaults, flags and environment)"
    lines = [*(f"mistake: {safe(text)}" for text in mistakes), *(f"note: {safe(text)}" for text in warnings)]
    count = len(mistakes)
    verdict = "no mistakes" if not count else f"{count} mistake{'s' if count > 1 else ''}"
    data: dict[str, Any] = {"file": str(path) if path else None, "mistakes": mistakes, "notes": warnings}
    text = "".join(line + "\n" for line in [*lines, f"{safe(read)}: {verdict}"])
    return Answer(data, text, BAD_SETTINGS if mistakes else 0)


COMMANDS = {"check-config": Command(_check, _arguments, takes_settings=True)}
