"""`shoal-agent`: announces the squid beside it to the Shoal servers."""

import logging
import os
import sys
import threading
import uuid
from collections.abc import Callable, Sequence

from shoal_agent import cache, host
from shoal_agent.agent import Agent
from shoal_agent.beat import Identity
from shoal_agent.health import HealthRules
from shoal_agent.publisher import Publisher
from shoal_agent.selftest import examine
from shoal_agent.settings import AgentSettings
from shoal_agent.watch import Watch
from shoal_common.amqp import Broker, Tls
from shoal_common.errors import SettingsError, Unavailable
from shoal_common.heartbeat import Upstream
from shoal_common.hosts import redacted
from shoal_common.probe import Target
from shoal_common.program import BAD_SETTINGS, command_line, log_to_stderr, settings_of, stop_on_signals
from shoal_common.settings import Loaded
from shoal_common.version import VERSION

DESCRIPTION = (
    "Announces the squid (or Varnish) of this machine to the Shoal servers for as long as it is good: "
    "tests it, measures the load, and publishes a heartbeat over AMQP."
)
GOODBYE_SECONDS = 1.5
"""A broker that does not answer must not hold up the end of the process."""

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code: 0 in order, 1 not published, 2 bad settings."""
    parser = command_line("shoal-agent", DESCRIPTION, AgentSettings)
    parser.add_argument(
        "--once",
        action="store_true",
        help="test the cache, publish one heartbeat, exit 0 if it was confirmed",
    )
    args = parser.parse_args(arguments)
    try:
        loaded = settings_of(AgentSettings, "shoal-agent", args, os.environ)
        broker = _broker(loaded.settings)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_SETTINGS
    log_to_stderr(loaded.settings.log_level)
    _greet(loaded)
    return _once(loaded.settings, broker) if args.once else _serve(loaded.settings, broker)


def _broker(settings: AgentSettings) -> Broker:
    """The broker; raises SettingsError, also for certificates that cannot be used."""
    broker = Broker.parse(settings.amqp, Tls(settings.ca_file, settings.cert_file, settings.key_file))
    next(broker.parameters("shoal-agent"))
    return broker


def _greet(loaded: Loaded[AgentSettings]) -> None:
    for warning in loaded.warnings:
        log.warning("%s", warning)
    source = loaded.path or "no settings file"
    log.info("shoal-agent %s (%s), publishing to %s", VERSION, source, redacted(loaded.settings.amqp))


def _serve(settings: AgentSettings, broker: Broker) -> int:
    threads = _Threads(stop_on_signals())
    watch = _watch(settings)
    agent = _agent(settings, broker, watch)
    threads.start("watch", lambda: watch.run(threads.stop))
    return threads.join(threads.start("agent", lambda: agent.run(threads.stop)))


def _once(settings: AgentSettings, broker: Broker) -> int:
    threads = _Threads(stop_on_signals())
    agent = _agent(settings, broker, _watch(settings))
    reasons = ["stopped"]

    def publish() -> None:
        try:
            agent.once()
        except Unavailable as error:
            reasons[:] = [str(error)]
        else:
            reasons.clear()

    crashed = threads.join(threads.start("once", publish))
    for reason in reasons:
        sys.stderr.write(f"shoal-agent: not published: {reason}\n")
    return 1 if reasons else crashed


class _Threads:
    """Runs the work in threads while the main thread only waits for `stop`.

    So a signal is acted upon whatever a broker or a name server does, and the end of any thread, a
    crash too, is the end of the process: whoever started it can start it anew.
    """

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self._crashed = False

    def start(self, name: str, task: Callable[[], None]) -> threading.Thread:
        """Run `task`; when it ends, `stop` is set."""

        def work() -> None:
            try:
                task()
            except BaseException:
                self._crashed = True
                raise
            finally:
                self.stop.set()

        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread

    def join(self, thread: threading.Thread) -> int:
        """Wait for `stop`, then a moment for the end of `thread`; returns the exit code."""
        self.stop.wait()
        thread.join(GOODBYE_SECONDS)
        return 1 if self._crashed else 0


def _watch(settings: AgentSettings) -> Watch:
    services = []
    if settings.upstream.serves(Upstream.CVMFS) and settings.check_urls:
        services.append([Target.cvmfs(url) for url in settings.check_urls])
    if settings.upstream.serves(Upstream.FRONTIER) and settings.check_frontier_urls:
        services.append([Target.frontier(url) for url in settings.check_frontier_urls])
    return Watch(
        lambda: cache.find(settings.cache_port, settings.cache_type, settings.upstream),
        lambda place: examine(place, services, settings.check_timeout),
        HealthRules(settings.check_rise, settings.check_fall),
        every=settings.check_interval,
        retry=settings.check_retry,
    )


def _agent(settings: AgentSettings, broker: Broker, watch: Watch) -> Agent:
    identity = Identity(uuid.uuid4().hex, settings.interval, settings.external_ip, settings.max_load)

    def look() -> host.Host:
        return host.look(settings.hostname, settings.interface)

    publisher = Publisher(broker, settings.exchange, f"shoal-agent {look().hostname}")
    return Agent(identity, look, watch, publisher)


if __name__ == "__main__":
    sys.exit(main())
