"""Our own route: `POST /v1/models/NAME:predict` with rows as JSON objects; what the model is, under `/v1/models`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from lode.app.contracts import Answer, Cells, Endpoint, Protocol, RequestError, Servable, Status
from lode.app.engine import unreadable
from lode.app.validate import Columns, Report, check_count, describe, parse_json
from lode.core.types import ColumnSchema

_JSON_TYPES: Mapping[str, Mapping[str, Any]] = {
    "number": {"type": ["number", "string", "null"]},
    "string": {"type": ["string", "number", "boolean", "null"]},
    "boolean": {"type": ["boolean", "string", "number", "null"]},
    "datetime": {"type": ["string", "null"]},
    "binary": {"type": ["string", "null"], "contentEncoding": "base64"},
    "list": {"type": ["array", "string", "null"]},
    "vector": {"type": "array", "items": {"type": "number"}},
}


class Rest(Protocol):
    """Rows in, rows out.

    Request `{"rows": [{"age": 39, "job": "clerk"}]}`; answer `{"model": NAME, "version": 1, "predictions": [{}]}`,
    and `"unseen": {"job": 1}` where cells hold values that training never saw.
    """

    def __init__(self, model: Servable, max_rows: int):
        self._model = model
        self._max_rows = max_rows
        self._columns = Columns(model.columns, unreadable(model), model.ignored)
        self._head = {"model": model.name, "version": model.version}

    def routes(self) -> tuple[Endpoint, ...]:
        path = f"/v1/models/{self._model.name}"
        return (
            Endpoint("POST", f"{path}:predict"),
            Endpoint("GET", "/v1/models", lambda status: (200, {"models": [self._summary(status)]})),
            Endpoint("GET", path, lambda status: (200, self._summary(status) | self._details())),
            Endpoint("GET", "/openapi.json", lambda status: (200, self._openapi(f"{path}:predict"))),
        )

    def decode(self, body: bytes) -> Cells:
        record = parse_json(body)
        rows = record.get("rows")
        if len(record) != 1 or type(rows) is not list:
            raise _wrong_keys(record)
        check_count(len(rows), self._max_rows)
        return self._columns.from_rows(rows)

    def encode(self, cells: Cells, answer: Answer) -> bytes:
        names = tuple(answer.columns)
        rows = [dict(zip(names, row, strict=True)) for row in zip(*answer.columns.values(), strict=True)]
        unseen = {"unseen": answer.unseen} if answer.unseen else {}
        return orjson.dumps({**self._head, "predictions": rows, **unseen})

    def encode_error(self, failure: RequestError) -> bytes:
        error: dict[str, Any] = {"type": failure.type, "message": failure.message}
        if failure.problems:
            error["problems"] = [problem.to_json() for problem in failure.problems]
        return orjson.dumps({"error": error})

    def _summary(self, status: Status) -> dict[str, Any]:
        return {
            "name": self._model.name,
            "version": self._model.version,
            "hash": self._model.hash,
            "ready": status.ready,
        }

    def _details(self) -> dict[str, Any]:
        return {
            "columns": [column.to_json() for column in self._model.columns],
            "answers": [column.to_json() for column in self._model.answers],
            "max_rows": self._max_rows,
            "card": dict(self._model.card),
        }

    def _openapi(self, path: str) -> dict[str, Any]:
        row = _object(self._model.columns)
        row["properties"] |= {name: {"description": "not read: the model does without it"} for name in sorted(self._model.ignored)}
        answer = _object(self._model.answers)
        body = {
            "type": "object",
            "required": ["rows"],
            "additionalProperties": False,
            "properties": {"rows": self._list(row)},
        }
        predictions = {"type": "array", "items": answer}
        unseen = {"type": "object", "additionalProperties": {"type": "integer"}}
        found = {
            "type": "object",
            "properties": {"model": {"type": "string"}, "version": {}, "predictions": predictions, "unseen": unseen},
        }
        answers: dict[str, Any] = {"200": _content("Predictions, in the order of the rows.", found)}
        for status, words in _STATUSES.items():
            answers[status] = _content(words, {"type": "object", "properties": {"error": {"type": "object"}}})
        operation = {
            "summary": f"Predict with {self._model.name}",
            "security": [{"key": []}],
            "requestBody": {"required": True, **_content("", body, words=False)},
            "responses": answers,
        }
        return {
            "openapi": "3.1.0",
            "info": {"title": self._model.name, "version": str(self._model.version)},
            "paths": {path: {"post": operation}},
            "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        }

    def _list(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"type": "array", "minItems": 1, "maxItems": self._max_rows, "items": row}


_STATUSES = {
    "400": "The body is not JSON.",
    "401": "No key, or a wrong one.",
    "413": "Too many bytes or rows.",
    "415": "Not application/json.",
    "422": "Rows that cannot be predicted: every problem of the request.",
    "429": "The queue is full; try again after `Retry-After` seconds.",
    "503": "The server is stopping.",
    "504": "No answer in time.",
}


def _wrong_keys(record: dict[str, Any]) -> RequestError:
    report = Report()
    report.unknown(None, (key for key in record if key != "rows"), ("rows",), what="key")
    if type(record.get("rows")) is not list:
        found = describe(record["rows"]) if "rows" in record else 'no key "rows"'
        report.add(None, None, found, '{"rows": [{column: value, ...}, ...]}')
    return report.failure()


def _object(columns: tuple[ColumnSchema, ...]) -> dict[str, Any]:
    properties = {
        column.name: {**_JSON_TYPES[column.kind], "description": f"{column.type}: {column.expects}"}
        | ({} if column.example is None else {"examples": [column.example]})
        for column in columns
    }
    return {"type": "object", "required": list(properties), "additionalProperties": False, "properties": properties}


def _content(description: str, schema: dict[str, Any], *, words: bool = True) -> dict[str, Any]:
    content: dict[str, Any] = {"content": {"application/json": {"schema": schema}}}
    return {"description": description, **content} if words else content
