"""What the main thread does each second; none of it can wait for anybody."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from shoal_agent.agent import Agent
from shoal_agent.host import interfaces
from shoal_agent.parts import Parts
from shoal_agent.reminder import Reminder
from shoal_agent.settings import AgentSettings
from shoal_agent.supervise import Threads
from shoal_agent.trouble import Help, Trouble

REFUSED_SECONDS = 600.0
"""A service manager that gave us our credentials in the environment can give us new ones only at a start."""

log = logging.getLogger(__name__)


def duties(
    settings: AgentSettings, parts: Parts, agent: Agent, threads: Threads, environ: Mapping[str, str]
) -> list[Callable[[], None]]:
    """What is to be called each second."""
    help_ = Help(settings.on_unhealthy, settings.mail_to, settings.smtp)
    reminder = Reminder(settings.state_directory or _state_directory(environ))
    trouble = Trouble(help_, parts.look().hostname, reminder)

    def tell() -> None:
        threads.manager.status(agent.status)

    def announce() -> None:
        for instance in parts.roster.instances:
            if settings.announce and not parts.draining.is_set():
                instance.announcer.turn(instance.cache, instance.seen.health, interfaces)

    def call() -> None:
        trouble.turn(parts.roster.instances)

    def start_anew() -> None:
        refused = agent.refused_for(time.monotonic()) >= REFUSED_SECONDS
        if refused and "SHOAL_AMQP" in environ and threads.manager.present:
            log.error("ends, to be started with the credentials that the environment has then")
            threads.fail()

    return [tell, announce, call, start_anew]


def _state_directory(environ: Mapping[str, str]) -> Path | None:
    """The first directory that the unit asked for (systemd.exec(5), StateDirectory=)."""
    first = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(first) if first else None
