"""`python -m demo`: tells the story, then leaves the status page up until Ctrl-C."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn, get_args

from demo.stage import Stage, StepFailed
from demo.story import Story
from demo.world import BrokerKind, CacheKind, Choices, StoreKind, World
from testbed.squid import Squid

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo: 0 if every step came true, 1 if not, 128 + n if signal n came before."""
    args = _parser().parse_args(arguments)
    stage = Stage(
        sys.stdout, colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR"), within=args.within
    )
    cache: CacheKind = args.cache or ("squid" if Squid.available() else "proxy.py")
    complete = False
    try:
        _end_on_signals()
        with World(Choices(args.broker, args.store, cache), at_end=_ignore_signals) as world:
            complete = _tell(world, stage)
            if complete and not args.once:
                stage.say(f"\nThe status page is at {world.server.url}/ - Ctrl-C ends the demo.")
                signal.pause()
    except Ended as end:
        return 0 if complete else 128 + end.number
    return 0 if complete else 1


def _tell(world: World, stage: Stage) -> bool:
    try:
        Story(world, stage).tell()
    except StepFailed as failure:
        stage.failed(str(failure))
        stage.say(world.last_words())
        return False
    stage.good("\nEvery step came true.")
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo", description="Watch Shoal at work on this machine."
    )
    parser.add_argument("--once", action="store_true", help="end after the last step")
    parser.add_argument("--broker", choices=get_args(BrokerKind), default="embedded")
    parser.add_argument("--store", choices=get_args(StoreKind), default="memory")
    parser.add_argument(
        "--cache", choices=get_args(CacheKind), help="default: squid where it is installed, else proxy.py"
    )
    parser.add_argument(
        "--within",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long each expectation may take to come true (default 30)",
    )
    return parser


def _end_on_signals() -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP:  # see nohup(1)
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    _ignore_signals()
    raise Ended(number)


def _ignore_signals() -> None:
    """What follows is the end, which nothing may interrupt."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
