"""Calls for help when the cache is bad: a command of the operator's, and mail; once a day at most."""

import logging
import os
import shlex
import smtplib
import subprocess
import threading
import time
from dataclasses import dataclass
from email.message import EmailMessage

from shoal_agent.cache import Cache
from shoal_agent.health import Health
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


class Trouble:
    """Watches the cache's state and calls for help from a thread of its own, which can stop nobody."""

    def __init__(self, help_: Help, hostname: str) -> None:
        self._help = help_
        self._hostname = hostname
        self._was_good = False
        self._bad_since: float | None = None
        self._called: float | None = None

    def turn(self, cache: Cache, health: Health) -> threading.Thread | None:
        """Call for help if it is time to; returns the thread that does so."""
        now = time.monotonic()
        if health.healthy is not False:
            self._was_good |= bool(health.healthy)
            self._bad_since = None
            return None
        self._bad_since = now if self._bad_since is None else self._bad_since
        if not self._help or not (self._was_good or now - self._bad_since >= NEVER_GOOD_SECONDS):
            return None
        if self._called is not None and now - self._called < A_DAY:
            return None
        self._called = now
        thread = threading.Thread(target=self._call, args=(cache, health), name="help", daemon=True)
        thread.start()
        return thread

    def _call(self, cache: Cache, health: Health) -> None:
        if self._help.command:
            _run(self._help.command, cache, health)
        if self._help.recipients:
            _mail(self._help, self._hostname, f"The {cache.type} at {cache.place} is bad: {health.reason}")


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
