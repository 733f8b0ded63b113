"""The OpenAPI 3.1 description, made from the operations: nothing in it is written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lode.app.admin.contracts import BASE, Operation
from lode.app.admin.pages import DEFAULT, MOST

_ERRORS = {
    400: "The body is no JSON, or `next` is no word of this list",
    401: "Nobody known", 403: "The role does not include it", 404: "There is nothing here",
    405: "Another method is wanted", 408: "The body came too slowly", 409: "It does not go with what is there",
    413: "The body is too large", 415: "No JSON", 422: "What was sent cannot be used", 429: "Too many at once",
    503: "The books cannot be written now",
}  # fmt: skip
_WHOLE = {"limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT}}
_REF = "#/components/schemas/{name}"


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The whole description."""
    bodies = [operation.body for operation in operations if operation.body is not None]
    _, components = msgspec.json.schema_components(bodies, ref_template=_REF)
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(BASE + operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "lode admin API", "version": version, "description": "Customers, keys, prices, invoices, audit."},
        "security": [{"key": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": _error()},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-lode_session"},
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    text = {"type": "string"}
    path = [{"name": name, "in": "path", "required": True, "schema": text} for name in operation.parts]
    query = [
        {"name": name, "in": "query", "description": words, "schema": _WHOLE.get(name, text)}
        for name, words in operation.queries.items()
    ]
    good = {"description": "Done", "content": _content(operation)}
    found: dict[str, Any] = {
        "operationId": operation.name, "summary": operation.summary, "tags": [operation.tag],
        "description": f"Needs a role that includes `{operation.action}`.", "parameters": path + query,
        "responses": {str(operation.status): good, **{str(status): _problem(words) for status, words in _ERRORS.items()}},
    }  # fmt: skip
    if operation.body is not None:
        schema = {"$ref": _REF.format(name=operation.body.__name__)}
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return found


def _content(operation: Operation) -> dict[str, Any]:
    """What a good answer holds."""
    if operation.files:
        return {media_type: {"schema": {"type": "string"}} for media_type in operation.files}
    schema: dict[str, Any] = {"type": "object"}
    if operation.items:
        items = {"type": "array", "maxItems": MOST, "items": {"type": "object"}}
        schema |= {
            "properties": {operation.items: items, "next": {"type": ["string", "null"]}},
            "required": [operation.items, "next"],
        }
    return {"application/json": {"schema": schema}}


def _problem(words: str) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": {"$ref": _REF.format(name="Error")}}}}


def _error() -> dict[str, Any]:
    fields = {"type": {"type": "string"}, "message": {"type": "string"}}
    error = {"type": "object", "properties": fields, "required": ["type", "message"]}
    return {"type": "object", "properties": {"error": error}, "required": ["error"], "additionalProperties": False}
