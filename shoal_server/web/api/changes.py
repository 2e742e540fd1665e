"""What an operator may change, with the operator's token: who and why go into the event log."""

from http import HTTPStatus
from typing import Annotated

from msgspec import Meta, Struct

from shoal_server.web.api.operations import Call, Nothing, change
from shoal_server.web.parameters import Line
from shoal_server.web.problems import ProblemError

_ERRORS = (HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)


class Change(Struct, frozen=True, forbid_unknown_fields=True):
    """Which squid, who changes it, and why."""

    squid: Annotated[Line, Meta(description="The whole id, as the operator sees it.")]
    who: Line
    why: Line

    @property
    def id(self) -> str:
        """The squid's id as plain text, fit to be stored."""
        return str(self.squid)

    @property
    def reason(self) -> str:
        return f"{self.who}: {self.why}"


@change("/drain", *_ERRORS)
def drain(call: Call, asked: Nothing, body: Change) -> None:
    """No new workers are told of the squid; who uses it already still is."""
    _demand(call, body)
    call.backend.drain(body.id, drained=True, reason=body.reason, now=call.now)


@change("/undrain", *_ERRORS)
def undrain(call: Call, asked: Nothing, body: Change) -> None:
    """The squid is offered to all workers again."""
    _demand(call, body)
    call.backend.drain(body.id, drained=False, reason=body.reason, now=call.now)


@change("/forget", *_ERRORS)
def forget(call: Call, asked: Nothing, body: Change) -> None:
    """The squid is taken off the list now; should it still send heartbeats, it joins anew."""
    _demand(call, body)
    call.backend.forget(body.id, reason=body.reason, now=call.now)


OPERATIONS = (drain, undrain, forget)


def _demand(call: Call, body: Change) -> None:
    if not call.backend.keeper.lists(body.id):
        raise ProblemError(HTTPStatus.NOT_FOUND, f"There is no squid {body.id!r}.")
