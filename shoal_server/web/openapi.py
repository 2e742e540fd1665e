"""The OpenAPI document, made from what each operation declares: its path, the types in its signature,
its docstring. Nothing in it is written by hand beside the code.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Protocol

import msgspec

from shoal_common.version import VERSION
from shoal_server.web.parameters import REFERENCE, schema
from shoal_server.web.problems import MIMETYPE, Problem

TITLE = "Shoal"
TOKEN = "operator"  # noqa: S105 - the name of a scheme
BEYOND_ANY = (HTTPStatus.BAD_REQUEST, HTTPStatus.INTERNAL_SERVER_ERROR)
CHANGES = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class Described(Protocol):
    """What the document says of an operation."""

    @property
    def name(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def asked(self) -> type[msgspec.Struct]: ...
    @property
    def body(self) -> type[msgspec.Struct] | None: ...
    @property
    def answer(self) -> Any: ...
    @property
    def handler(self) -> Any: ...
    @property
    def errors(self) -> frozenset[HTTPStatus]: ...
    @property
    def operators_alone(self) -> bool: ...


def document(operations: Sequence[Described], root: str) -> dict[str, Any]:
    """The document (OpenAPI 3.1.0) as JSON would have it."""
    types: list[Any] = [one.asked for one in operations]
    types += [kind for one in operations for kind in (one.body, one.answer) if kind]
    _, components = msgspec.json.schema_components(
        [*types, Problem], schema_hook=schema, ref_template=REFERENCE
    )
    parameters = {name: components.pop(name) for name in {one.asked.__name__ for one in operations}}
    paths: dict[str, Any] = {}
    for one in operations:
        described = _operation(one, parameters[one.asked.__name__])
        paths.setdefault(root + one.path, {})[one.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {TOKEN: {"type": "http", "scheme": "bearer"}},
        },
    }


DESCRIPTION = (
    "Which squids are near, and everything that is known of them. What is private to a site is told to "
    "requesters of that site alone, and to whoever bears the operator's token."
)


def _operation(one: Described, parameters: dict[str, Any]) -> dict[str, Any]:
    summary, _, more = _text(one.handler.__doc__).partition("\n\n")
    described: dict[str, Any] = {
        "operationId": one.name,
        "summary": summary,
        "parameters": [
            _parameter(name, kind, one.path, required=name in parameters.get("required", ()))
            for name, kind in parameters.get("properties", {}).items()
        ],
        "responses": _responses(one),
    }
    if more:
        described["description"] = more
    if one.body:
        content = {"application/json": {"schema": _reference(one.body)}}
        described["requestBody"] = {"required": True, "content": content}
    described["security"] = [{TOKEN: []}] if one.operators_alone else [{}, {TOKEN: []}]
    return described


def _parameter(name: str, kind: dict[str, Any], path: str, *, required: bool) -> dict[str, Any]:
    place = "path" if f"{{{name}}}" in path else "query"
    description = kind.get("description", "")
    return {
        "name": name,
        "in": place,
        "required": required,
        "description": description,
        "schema": {key: value for key, value in kind.items() if key != "description"},
    }


def _responses(one: Described) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if one.answer:
        content = {"application/json": {"schema": _reference(one.answer)}}
        told["200"] = {"description": "The answer.", "headers": _headers(one.answer), "content": content}
        told["304"] = {"description": "Nothing has changed since (If-None-Match)."}
    else:
        told["204"] = {"description": "Done."}
    for status in sorted({*BEYOND_ANY, *one.errors, *(CHANGES if one.operators_alone else ())}):
        content = {MIMETYPE: {"schema": _reference(Problem)}}
        told[str(status.value)] = {"description": status.phrase, "content": content}
    return told


def _headers(answer: Any) -> dict[str, Any]:
    text: dict[str, Any] = {"schema": {"type": "string"}}
    headers: dict[str, Any] = {"ETag": text, "Cache-Control": text}
    if "next" in answer.__struct_fields__:
        headers["Link"] = {"description": "The next page, if there is one (RFC 8288).", **text}
    return headers


def _reference(kind: type) -> dict[str, str]:
    return {"$ref": REFERENCE.format(name=kind.__name__)}


def _text(docstring: str | None) -> str:
    """A docstring as paragraphs of one line each."""
    paragraphs = re.split(r"\n\s*\n", (docstring or "").strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
