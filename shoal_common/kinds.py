"""The kinds of value a setting can have: how its text is read, and how the allowed values are told."""

import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shoal_common.hosts import HostPort


@dataclass(frozen=True, slots=True)
class Kind:
    """Reads a value from text (ValueError for a bad one) and says in words which texts it takes."""

    parse: Callable[[str], Any]
    allowed: str
    show: Callable[[Any], str] = str
    many: bool = False


def text(allowed: str = "any text", pattern: str = r"[^\x00-\x1f\x7f]*") -> Kind:
    """A string without control characters that matches `pattern` as a whole."""

    def parse(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(value)
        return value

    return Kind(parse, allowed)


def number(least: float, most: float, unit: str) -> Kind:
    """A finite number from `least` to `most`."""

    def parse(value: str) -> float:
        result = float(value)
        if not math.isfinite(result) or not least <= result <= most:
            raise ValueError(value)
        return result

    return Kind(
        parse,
        f"a number of {unit} from {least:g} to {most:g}",
        lambda value: repr(float(value)).removesuffix(".0"),
    )


def whole(least: int, most: int, unit: str = "") -> Kind:
    """A whole number from `least` to `most`."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,15}", value) or not least <= int(value) <= most:
            raise ValueError(value)
        return int(value)

    return Kind(parse, f"a whole number{' of ' + unit if unit else ''} from {least} to {most}")


def optional(kind: Kind, empty: str) -> Kind:
    """`kind`, or nothing; `empty` says what nothing means."""
    return Kind(
        lambda value: kind.parse(value) if value else None,
        f"{kind.allowed}; empty: {empty}",
        lambda value: "" if value is None else kind.show(value),
    )


def yes_no() -> Kind:
    """True or False, in the words that configparser takes."""
    words = {
        "yes": True,
        "true": True,
        "on": True,
        "1": True,
        "no": False,
        "false": False,
        "off": False,
        "0": False,
    }

    def parse(value: str) -> bool:
        if value.lower() not in words:
            raise ValueError(value)
        return words[value.lower()]

    return Kind(parse, "yes or no", lambda value: "yes" if value else "no")


def one_of(choices: type[StrEnum]) -> Kind:
    """A member of an enumeration, by its value."""
    return Kind(
        lambda value: choices(value.lower()),
        "one of " + ", ".join(m.value for m in choices),
        lambda m: str(m.value),
    )


def host_port() -> Kind:
    """`HOST:PORT`, an IPv6 address in brackets."""
    return Kind(HostPort.parse, "HOST:PORT, an IPv6 address in brackets")


def url(*schemes: str) -> Kind:
    """A URL with one of `schemes`, without blanks or control characters."""

    def parse(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes or not re.fullmatch(r"[!-~]+", value):
            raise ValueError(value)
        # The others may lack a host (memory://) or name several (amqp://a,b).
        if parts.scheme in ("http", "https") and not (parts.hostname and parts.port != 0):
            raise ValueError(value)
        return value

    return Kind(parse, "a URL beginning " + " or ".join(f"{scheme}://" for scheme in schemes))


def several(kind: Kind) -> Kind:
    """A list of `kind`, separated by blanks or commas; as a flag it may also be repeated."""

    def parse(value: str) -> tuple[Any, ...]:
        return tuple(kind.parse(item) for item in re.split(r"[,\s]+", value) if item)

    def show(values: tuple[Any, ...]) -> str:
        return " ".join(kind.show(value) for value in values)

    return Kind(parse, f"a list of: {kind.allowed} (separated by blanks or commas)", show, many=True)


def path() -> Kind:
    """A file's path; whether it exists is for the reader to find."""
    return Kind(_path, "a file's path")


def _path(value: str) -> Path:
    if not value or not value.isprintable():
        raise ValueError(value)
    return Path(value)


def network() -> Kind:
    """An address or a network in CIDR notation."""
    return Kind(
        lambda value: str(ipaddress.ip_network(value)), "an address or a network such as 192.0.2.0/24"
    )
