"""The Open Inference Protocol, version 2 (the HTTP/JSON part that KServe, Triton and MLServer speak): tensor = column.

Source: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

import orjson

from lode.app import describing
from lode.app.contracts import Answer, Cells, Endpoint, Protocol, RequestError, Servable, Status
from lode.app.engine import unreadable
from lode.app.validate import Columns, Report, check_count, describe, parse_json, short, text_of

_DATATYPES = {"number": "FP64", "string": "BYTES", "datetime": "BYTES", "binary": "BYTES", "boolean": "BYTES",
              "list": "BYTES", "vector": "BYTES"}  # fmt: skip
"""What we say that a column wants."""

_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "BOOL": (bool,),
    "BYTES": (str,),
    **dict.fromkeys(("FP16", "FP32", "FP64"), (float, int)),
    **dict.fromkeys(("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"), (int,)),
}
"""What we take: the JSON types of each datatype; null stands for an empty cell."""

_REQUEST_KEYS = ("inputs", "outputs", "id", "parameters")


class OpenInference(Protocol):
    """Tensors in, tensors out; each of shape [N] or [N, 1]. Pictures are base64 text in BYTES."""

    def __init__(self, model: Servable, max_rows: int):
        self._model = model
        self._max_rows = max_rows
        self._columns = Columns(model.columns, unreadable(model), model.ignored)
        self._answers = {column.name: column.kind for column in model.answers}
        self._version = str(model.version)

    def routes(self) -> tuple[Endpoint, ...]:
        server = {"name": "lode", "version": _lode_version(), "extensions": []}
        endpoints = [
            Endpoint("GET", "/v2", lambda status: (200, server)),
            Endpoint("GET", "/v2/health/live", lambda status: (200, {"live": True}), public=True),
            Endpoint("GET", "/v2/health/ready", _ready, public=True),
        ]
        name = self._model.name
        for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{self._version}"):
            endpoints += [
                Endpoint("GET", path, lambda status: (200, self._metadata())),
                Endpoint("GET", f"{path}/ready", lambda status: _ready(status, name), public=True),
                Endpoint("POST", f"{path}/infer"),
            ]
        return tuple(endpoints)

    def described(self) -> dict[str, Any]:
        names = [column.name for column in self._model.columns]
        path = f"/v2/models/{self._model.name}"
        return {
            **describing.inferred(path, names, tuple(_JSON_TYPES)),
            **describing.inferred(f"{path}/versions/{self._version}", names, tuple(_JSON_TYPES)),
        }

    def decode(self, body: bytes) -> Cells:
        record = parse_json(body)
        report = Report()
        report.unknown(None, (key for key in record if key not in _REQUEST_KEYS), _REQUEST_KEYS, what="key")
        tensors = self._tensors(record, report)
        report.check()
        num_rows = _num_rows(tensors)
        check_count(num_rows, self._max_rows)
        columns = {tensor["name"]: _data(tensor, num_rows, report) for tensor in tensors}
        report.check()
        outputs = self._outputs(record.get("outputs", []), report)
        name = record.get("id", "")
        if type(name) is not str:
            report.add(None, None, f"id: {describe(name)}", "text")
        report.check()
        cells = self._columns.from_columns({name: columns[name] for name in self._columns.names}, num_rows)
        return Cells(num_rows, cells.columns, cells.dtypes, name, outputs)

    def encode(self, cells: Cells, answer: Answer) -> bytes:
        names = cells.outputs or tuple(answer.columns)
        record: dict[str, Any] = {"model_name": self._model.name, "model_version": self._version}
        if cells.id:
            record["id"] = cells.id
        record["outputs"] = [
            {
                "name": name,
                "datatype": _datatype(self._answers[name]),
                "shape": [answer.num_rows],
                "data": _texts(answer.columns[name]) if _datatype(self._answers[name]) == "BYTES" else answer.columns[name],
            }
            for name in names
        ]
        if answer.unseen:
            record["parameters"] = {f"unseen.{name}": count for name, count in answer.unseen.items()}
        return orjson.dumps(record)

    def encode_error(self, failure: RequestError) -> bytes:
        problems = [problem.to_json() for problem in failure.problems]
        said = [
            ", ".join(part for part in (_row(problem.row), problem.column) if part)
            + f": {problem.found}, allowed: {problem.allowed}"
            for problem in failure.problems[:8]
        ]
        message = " | ".join([failure.message, *said])
        return orjson.dumps({"error": message, "problems": problems} if problems else {"error": message})

    def _metadata(self) -> dict[str, Any]:
        def tensors(columns: Any, table: dict[str, str]) -> list[dict[str, Any]]:
            return [{"name": column.name, "datatype": table[column.kind], "shape": [-1]} for column in columns]

        return {
            "name": self._model.name,
            "versions": [self._version],
            "platform": "lode",
            "inputs": tensors(self._model.columns, _DATATYPES),
            "outputs": tensors(self._model.answers, {kind: _datatype(kind) for kind in _DATATYPES}),
        }

    def _tensors(self, record: dict[str, Any], report: Report) -> list[dict[str, Any]]:
        """The input tensors: one for each column, each with a shape, a datatype and a list of data."""
        tensors = record.get("inputs")
        if type(tensors) is not list:
            report.add(None, None, describe(tensors) if "inputs" in record else 'no key "inputs"', '{"inputs": [tensor, ...]}')
            return []
        good = []
        for position, tensor in enumerate(tensors):
            if type(tensor) is not dict or type(tensor.get("name")) is not str:
                report.add(None, None, f"inputs[{position}]: no tensor with a name", '{"name", "shape", "datatype", "data"}')
                continue
            good.append(tensor)
        self._columns.check_names([tensor["name"] for tensor in good], report)
        for tensor in good:
            _check_tensor(tensor, report)
        return good

    def _outputs(self, wanted: Any, report: Report) -> tuple[str, ...]:
        """Names of the answer columns that are asked for."""
        if type(wanted) is not list:
            report.add(None, None, f"outputs: {describe(wanted)}", "a list of {name}")
            return ()
        names: list[str] = [entry["name"] for entry in wanted if type(entry) is dict and type(entry.get("name")) is str]
        if len(names) != len(wanted):
            report.add(None, None, "outputs: an entry without a name", "a list of {name}")
            return ()
        report.unknown(None, (name for name in names if name not in self._answers), tuple(self._answers), what="output")
        return tuple(names)


def _check_tensor(tensor: dict[str, Any], report: Report) -> None:
    """Note a datatype or a shape that cannot be; the data are looked at when the shapes are known to agree."""
    name: str = tensor["name"]
    datatype: Any = tensor.get("datatype")
    shape: Any = tensor.get("shape")
    if type(datatype) is not str or datatype not in _JSON_TYPES:
        report.add(None, short(name), f"datatype: {describe(datatype)}", ", ".join(_JSON_TYPES))
    if type(tensor.get("data")) is not list:
        report.add(None, short(name), f"data: {describe(tensor.get('data'))}", "a list (the binary extension is not supported)")
    good = type(shape) is list and 1 <= len(shape) <= 2 and all(type(axis) is int and axis >= 0 for axis in shape)
    if not good or (len(shape) == 2 and shape[1] != 1):
        report.add(None, short(name), "its shape", "[N] or [N, 1]: one cell for each row")


def _num_rows(tensors: list[dict[str, Any]]) -> int:
    """N, on which all tensors must agree."""
    lengths = {tensor["name"]: tensor["shape"][0] for tensor in tensors}
    if len(set(lengths.values())) > 1:
        report = Report()
        for name, length in lengths.items():
            report.add(None, name, f"{length} rows", "the same number of rows in every tensor")
        report.check()
    return int(next(iter(lengths.values()), 0))


def _data(tensor: dict[str, Any], num_rows: int, report: Report) -> list[Any]:
    """The cells of a tensor, flat, held against its datatype."""
    name, data = tensor["name"], tensor["data"]
    nested = bool(data) and all(type(cell) is list and len(cell) == 1 for cell in data)
    cells: list[Any] = [cell[0] for cell in data] if nested else data
    if len(cells) != num_rows:
        report.add(None, name, f"{len(cells)} cells in data", f"{num_rows}, as its shape says")
        return cells
    types = _JSON_TYPES[tensor["datatype"]]
    for row, cell in enumerate(cells):
        if cell is not None and type(cell) not in types:
            report.add(row, name, describe(cell), f"a cell of the datatype {tensor['datatype']}, or null")
    return cells


def _datatype(kind: str) -> str:
    return {"number": "FP64", "boolean": "BOOL"}.get(kind, "BYTES")


def _texts(cells: list[Any]) -> list[str | None]:
    """Labels as BYTES, which are text in JSON: 1 is "1", true is "true"; a list is a JSON text, because rows differ in length."""
    return [orjson.dumps(cell).decode() if type(cell) is list else _text(cell) for cell in cells]


def _text(cell: Any) -> str | None:
    return cell if cell is None or type(cell) is str else text_of(cell)


def _ready(status: Status, name: str = "") -> tuple[int, Any]:
    said = {"name": name, "ready": status.ready} if name else {"ready": status.ready}
    return (200 if status.ready else 503), said


def _lode_version() -> str:
    try:
        return metadata.version("lodeml")
    except metadata.PackageNotFoundError:
        # A source tree that was not installed.
        return "unknown"


def _row(row: int | None) -> str:
    return "" if row is None else f"row {row}"
