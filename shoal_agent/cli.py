"""`shoal-agent`: announces the caches beside it to the Shoal servers."""

import logging
import os
import signal
import sys
from collections.abc import Sequence

from shoal_agent import parts
from shoal_agent.check import findings
from shoal_agent.duties import duties
from shoal_agent.instance import Instance
from shoal_agent.parts import Parts
from shoal_agent.renewal import Renewal
from shoal_agent.settings import AgentSettings
from shoal_agent.supervise import Pulse, Threads
from shoal_agent.systemd import ServiceManager
from shoal_common.amqp import Broker, Tls
from shoal_common.errors import SettingsError, Unavailable
from shoal_common.hosts import redacted
from shoal_common.program import BAD_SETTINGS, command_line, log_to_stderr, settings_of, stop_on_signals
from shoal_common.settings import Loaded
from shoal_common.version import VERSION

DESCRIPTION = (
    "Announces the squids (and Varnishes) of this machine to the Shoal servers for as long as they are good: "
    "tests them, measures the load, and publishes heartbeats over AMQP."
)

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code: 0 in order, 1 not published, 2 bad settings."""
    parser = command_line("shoal-agent", DESCRIPTION, AgentSettings)
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument(
        "--once",
        action="store_true",
        help="test the caches, publish one heartbeat for each good one, exit 0 if all are good and confirmed",
    )
    modes.add_argument(
        "--check",
        action="store_true",
        help="show what is found and how it is known, publish nothing, exit 0 if all is well",
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
    if args.check:
        return _check(parts.make(loaded.settings), broker)
    if args.once:
        return _once(loaded.settings, broker)

    def read_again() -> Broker:
        return _broker(settings_of(AgentSettings, "shoal-agent", args, os.environ).settings)

    return _serve(loaded.settings, broker, Renewal(broker, loaded.path, read_again))


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


def _check(made: Parts, broker: Broker) -> int:
    good = True
    for line in findings(made, broker):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        good &= line.good
    return 0 if good else 1


def _serve(settings: AgentSettings, broker: Broker, renewal: Renewal) -> int:
    made, manager = parts.make(settings), ServiceManager(os.environ)
    # No lock is taken here: setting an event that nobody waits for is safe in a handler.
    signal.signal(signal.SIGUSR1, lambda *_: made.draining.set())
    threads = Threads(stop_on_signals(), manager)
    agent = made.agent(broker, renewal)

    def begin(instance: Instance) -> None:
        threads.start(
            f"watch {instance.uuid}",
            lambda pulse: instance.watch.run(threads.stop, pulse),
            may_end=True,
        )

    threads.start(
        "roster",
        lambda pulse: made.roster.run(threads.stop, begin, parts.pace(settings).look, pulse),
    )
    threads.start("outside", lambda pulse: made.outside.run(threads.stop, made.look, made.draining, pulse))
    working = threads.start("agent", lambda pulse: agent.run(threads.stop, pulse))
    return threads.oversee(working, duties(settings, made, agent, threads, os.environ))


def _once(settings: AgentSettings, broker: Broker) -> int:
    made, threads = parts.make(settings), Threads(stop_on_signals(), ServiceManager({}))
    agent = made.agent(broker)
    reasons = ["stopped"]

    def publish(_: Pulse) -> None:
        made.outside.turn(made.look())
        try:
            agent.once()
        except Unavailable as error:
            reasons[:] = [str(error)]
        else:
            reasons.clear()

    crashed = threads.oversee(threads.start("once", publish))
    for reason in reasons:
        sys.stderr.write(f"shoal-agent: not published: {reason}\n")
    return 1 if reasons else crashed


if __name__ == "__main__":
    sys.exit(main())
