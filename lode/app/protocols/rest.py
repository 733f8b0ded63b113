"""Our own route: `POST /v1/models/NAME:predict` with rows as JSON objects; what the model is, under `/v1/models`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from lode.app import describing
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
        )

    def described(self) -> dict[str, Any]:
        path = f"/v1/models/{self._model.name}"
        row = _object(self._model.columns)
        row["properties"] |= {name: {"description": "not read: the model does without it"} for name in sorted(self._model.ignored)}
        predictions = {"type": "array", "items": _object(self._model.answers)}
        unseen = {"type": "object", "additionalProperties": {"type": "integer"}}
        found = {"model": describing.TEXT, "version": {}, "predictions": predictions, "unseen": unseen}
        summary = f"Predict with {self._model.name}, in the order of the rows"
        rows = {"type": "array", "minItems": 1, "maxItems": self._max_rows, "items": row}
        return {
            f"{path}:predict": describing.posted(
                summary, describing.closed({"rows": rows}, ["rows"]), {"type": "object", "properties": found}
            ),
            "/v1/models": describing.read("Models", {"type": "object", "required": ["models"]}),
            path: describing.read("Columns and card of the model", {"type": "object", "required": ["columns", "answers", "card"]}),
        }

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
