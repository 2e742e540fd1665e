"""Calls for help when a cache is bad: a command of the operator's, and mail; once a day at most."""

import logging
import os
import shlex
import smtplib
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage

from shoal_agent.cache import Cache
from shoal_agent.health import Health
from shoal_agent.instance import Instance
from shoal_agent.reminder import Reminder
from shoal_agent.watch import Seen
from shoal_common.hosts import HostPort

A_DAY = 86400.0
NEVER_GOOD_SECONDS = 600.0
"""A cache that has not been good yet is given this long to start."""
COMMAND_SECONDS = 60.0
MAIL_SECONDS = 20.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Help:
    """Whom to call: a command line (no shell reads it), and mail addresses with a server for mail."""

    command: str = ""
    recipients: tuple[str, ...] = ()
    smtp: HostPort = HostPort("localhost", 25)  # noqa: RUF009 - frozen

    def __bool__(self) -> bool:
        return bool(self.command or self.recipients)


@dataclass(slots=True)
class _Past:
    """What one cache was so far."""

    was_good: bool = False
    bad_since: float | None = None

    def is_trouble(self, health: Health, now: float) -> bool:
        """Whether it is worth a call: a good cache turned bad, or never became good in all this time."""
        if health.healthy is not False:
            self.was_good |= bool(health.healthy)
            self.bad_since = None
            return False
        self.bad_since = now if self.bad_since is None else self.bad_since
        return self.was_good or now - self.bad_since >= NEVER_GOOD_SECONDS


class Trouble:
    """Watches the state of the caches and calls for help from a thread of its own, which can stop nobody."""

    def __init__(self, help_: Help, hostname: str, reminder: Reminder) -> None:
        self._help = help_
        self._hostname = hostname
        self._reminder = reminder
        self._pasts: dict[str, _Past] = {}
        self._called: float | None = None

    def turn(self, instances: Iterable[Instance]) -> threading.Thread | None:
        """Call for help if it is time to; returns the thread that does so."""
        now = time.monotonic()
        states = {each.uuid: each.seen for each in instances}
        self._pasts = {uuid: self._pasts.get(uuid) or _Past() for uuid in states}
        bad = [seen for uuid, seen in states.items() if self._pasts[uuid].is_trouble(seen.health, now)]
        if not bad or not self._help or (self._called is not None and now - self._called < A_DAY):
            return None
        self._called = now
        thread = threading.Thread(target=self._call, args=(bad, now), name="help", daemon=True)
        thread.start()
        return thread

    def _call(self, bad: Sequence[Seen], now: float) -> None:
        ago = self._reminder.read(time.time())
        if ago is not None and ago < A_DAY:
            self._called = now - ago
            return
        self._reminder.write(time.time())
        if self._help.command:
            _run(self._help.command, bad[0].cache, bad[0].health)
        if self._help.recipients:
            said = (
                f"The {each.cache.type} at {each.cache.place} is bad: {each.health.reason}" for each in bad
            )
            _mail(self._help, self._hostname, "\n".join(said))


def _run(command: str, cache: Cache, health: Health) -> None:
    said = {
        "SHOAL_CACHE": str(cache.place),
        "SHOAL_CACHE_TYPE": str(cache.type),
        "SHOAL_REASON": health.reason,
    }
    try:
        done = subprocess.run(
            shlex.split(command),
            env=os.environ | said,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        log.warning("on_unhealthy failed: %s", error)
    else:
        log.info("on_unhealthy ended with status %d", done.returncode)


def _mail(help_: Help, hostname: str, text: str) -> None:
    message = EmailMessage()
    message["From"] = f"shoal-agent@{hostname}"
    message["To"] = ", ".join(help_.recipients)
    message["Subject"] = f"The cache of {hostname} is bad"
    message.set_content(
        f"{text}\n\nIt is not announced until it recovers. This is said once a day at most.\n"
    )
    try:
        with smtplib.SMTP(help_.smtp.host, help_.smtp.port, timeout=MAIL_SECONDS) as server:
            server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        log.warning("mail to %s failed: %s", ", ".join(help_.recipients), error)
