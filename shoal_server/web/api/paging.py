"""Answers in pages. A cursor holds where a page ended, not a number, so that squids that come and go
between two pages shift nothing.
"""

import base64
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec
from flask import request

from shoal_server.web.problems import BadQueryError

Item = TypeVar("Item")
Key = tuple[str | float, ...]


class Position(msgspec.Struct, frozen=True, array_like=True):
    """The order that was asked for, and the key of a page's last item."""

    order: str
    key: Key


def page(
    items: Sequence[Item],
    key: Callable[[Item], Key],
    *,
    order: str,
    descending: bool,
    after: str | None,
    limit: int,
) -> tuple[list[Item], str | None]:
    """A page of items in their order, and the cursor of what follows.

    Raises BadQueryError for a cursor that is none, or of another order.
    """
    keyed = sorted(((key(item), index) for index, item in enumerate(items)), reverse=descending)
    if after:
        last = _read(after, order, keyed[0][0] if keyed else None)
        keyed = [one for one in keyed if (one[0] < last if descending else one[0] > last)]
    shown = keyed[:limit]
    further = _written(Position(order, shown[-1][0])) if len(keyed) > limit else None
    return [items[index] for _, index in shown], further


def onward(cursor: str | None, name: str = "cursor") -> str | None:
    """The present request's path and query with another cursor."""
    if cursor is None:
        return None
    return f"{quote(request.path)}?{urlencode({**request.args, name: cursor})}"


def _read(cursor: str, order: str, example: Key | None) -> Key:
    try:
        position = msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=Position)
    except (ValueError, msgspec.DecodeError):
        raise BadQueryError("cursor: it is none of an earlier answer") from None
    kinds = [isinstance(part, str) for part in position.key]
    if position.order != order or (example and kinds != [isinstance(part, str) for part in example]):
        raise BadQueryError("cursor: it belongs to an answer in another order")
    return position.key


def _written(position: Position) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode()
