"""`drain`, `undrain` and `forget`: an operator's changes, each with who and why in the event log."""

import argparse
import getpass
import os
import socket

from shoal_server.commands import service
from shoal_server.commands.command import Answer, Call, Command
from shoal_server.commands.plain import safe
from shoal_server.commands.service import Service

OUTCOMES = {
    "drain": "is draining: new workers are not told of it, those that use it keep it",
    "undrain": "is offered to all workers again",
    "forget": "is forgotten; should it still send heartbeats, it joins anew",
}
OVERHEARD = "the operator's token went over the network unencrypted: use https:// or the server's own machine"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("squid", metavar="ID", help="the squid's id, as `squids` and the status page show it")
    parser.add_argument("--why", required=True, metavar="TEXT", help="the reason, for the event log")
    parser.add_argument(
        "--who", metavar="TEXT", help="who does it, for the event log (default: you, at this machine)"
    )
    service.arguments(parser)


def _change(change: str, call: Call) -> Answer:
    server = Service.of(call)
    who = call.args.who or _person(call)
    said = {"squid": call.args.squid, "who": who, "why": call.args.why}
    server.post(f"/api/v1/{change}", said)
    text = f"{safe(call.args.squid)} {OUTCOMES[change]}.\n"
    return Answer({"change": change, **said}, text, notes=[OVERHEARD] if server.overheard else [])


def _person(call: Call) -> str:
    """Whoever sits at the keyboard, also under sudo, and where that is."""
    name = call.environ.get("SUDO_USER") or call.environ.get("USER")
    return f"{name or _account()}@{socket.gethostname()}"


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have
        return f"uid {os.getuid()}"


def _drain(call: Call) -> Answer:
    return _change("drain", call)


def _undrain(call: Call) -> Answer:
    return _change("undrain", call)


def _forget(call: Call) -> Answer:
    return _change("forget", call)


COMMANDS = {
    "drain": Command(_drain, _arguments),
    "undrain": Command(_undrain, _arguments),
    "forget": Command(_forget, _arguments),
}
