"""What may stand in a query or a body: the types of the values, how they are read, and what is said
of one that will not do. The same types make the OpenAPI document.
"""

import functools
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from msgspec import Meta, Struct

from shoal_server.web.backend import plain_address
from shoal_server.web.problems import BadQueryError

SHOWN = 60
"""So much of a wrong value is repeated to whoever sent it."""
LONGEST_LINE = 200
REFERENCE = "#/components/schemas/{name}"

Asked = TypeVar("Asked", bound=Struct)


class YesNo(StrEnum):
    """A switch."""

    YES = "yes"
    NO = "no"


class Address(str):
    """An IPv4 or IPv6 address in its usual form; empty for the requester's own."""

    __slots__ = ()
    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "type": "string",
        "title": "an IPv4 or IPv6 address",
        "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}, {"maxLength": 0}],
    }

    @classmethod
    def parse(cls, text: str) -> "Address":
        """ValueError for what is no address."""
        return cls(plain_address(text.strip(" "))) if text else cls()


class Line(str):
    """A line of text as it may stand in a log."""

    __slots__ = ()
    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "type": "string",
        "title": f"a line of 1 to {LONGEST_LINE} printable characters",
        "minLength": 1,
        "maxLength": LONGEST_LINE,
        "format": "line",
    }

    @classmethod
    def parse(cls, text: str) -> "Line":
        """ValueError for what is no such line."""
        if not (isinstance(text, str) and 0 < len(text) <= LONGEST_LINE and text.isprintable()):
            raise ValueError(f"Expected {cls.SCHEMA['title']}")
        return cls(text)


class Cursor(str):
    """Where a page of an answer ended, as its `next` says; it means nothing to anybody else."""

    __slots__ = ()
    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "type": "string",
        "title": "a cursor of an earlier answer",
        "format": "cursor",
    }

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Whether it is a good one, only its reader can say."""
        return cls(text)


_OWN = (Address, Line, Cursor)

Moment = Annotated[
    datetime, Meta(tz=True, title="a time such as 2026-01-31T12:00:00Z, or seconds since 1970")
]
Word = Annotated[str, Meta(max_length=100, title="a text of at most 100 characters")]


def read(asked: type[Asked], given: Mapping[str, str]) -> Asked:
    """The parameters of a request; raises BadQueryError naming the one at fault and what it takes."""
    names = [field.encode_name for field in msgspec.structs.fields(asked)]
    if unknown := set(given) - set(names):
        takes = f"none of {', '.join(names)}" if names else "unknown: there are no parameters here"
        raise BadQueryError(f"{min(unknown)[:SHOWN]!r} is {takes}")
    try:
        return msgspec.convert(dict(given), asked, strict=False, dec_hook=parse)
    except msgspec.ValidationError as error:
        found = re.search(r"`\$\.(\w+)", str(error))
        missing = re.search(r"missing required field `(\w+)`", str(error))
        if missing or not found:
            raise BadQueryError(f"{missing[1]} is needed" if missing else str(error)[:LONGEST_LINE]) from None
        name = found[1]
        raise BadQueryError(f"{name}: {given[name][:SHOWN]!r} is {_complaint(asked, name)}") from None


def read_body(body: bytes, asked: type[Asked]) -> Asked:
    """A JSON body; raises BadQueryError saying what it must be."""
    try:
        return msgspec.json.decode(body, type=asked, dec_hook=parse)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        names = [field.encode_name for field in msgspec.structs.fields(asked)]
        wanted = ", ".join(names[:-1]) + f" and {names[-1]}"
        raise BadQueryError(f"The body must be a JSON object with {wanted}: {error}"[:LONGEST_LINE]) from None


def parse(kind: type, value: Any) -> Any:
    """A value of one of our own types (msgspec's `dec_hook`)."""
    if kind in _OWN:
        return kind.parse(value)
    raise NotImplementedError(kind)


def schema(kind: type) -> dict[str, Any]:
    """The JSON Schema of one of our own types (msgspec's `schema_hook`)."""
    if kind in _OWN:
        return dict(kind.SCHEMA)
    raise NotImplementedError(kind)


@functools.cache
def described(asked: type[Struct]) -> Mapping[str, Mapping[str, Any]]:
    """The JSON Schema of each parameter, with nothing left to look up elsewhere."""
    (_,), components = msgspec.json.schema_components([asked], schema_hook=schema, ref_template="{name}")
    properties: Mapping[str, dict[str, Any]] = components[asked.__name__]["properties"]
    return {name: {**components.get(each.pop("$ref", ""), {}), **each} for name, each in properties.items()}


def _complaint(asked: type[Struct], name: str) -> str:
    takes = described(asked)[name]
    if "enum" in takes:
        return f"none of {', '.join(map(str, takes['enum']))}"
    if "maximum" in takes:
        return f"not a whole number from {takes['minimum']} to {takes['maximum']}"
    return f"not {takes['title']}"
