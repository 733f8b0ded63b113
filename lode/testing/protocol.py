"""The contract suite of protocols: `check_protocol(make, good)` for each file in lode/app/protocols, and for others.

A protocol is given a small model (`Sample`) and held against what `lode.app.contracts.Protocol` promises.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
import polars as pl

from lode.app.contracts import Answer, Cells, Protocol, RequestError, Servable, Status
from lode.core.types import ColumnSchema, Problem

SEEN = ("clerk", "nurse", "pilot")


class Sample:
    """A model without learning: P(rich) from age, one category with unseen values, one picture; errors on demand."""

    name = "sample"
    version: int | None = 3
    hash = "0" * 64
    card: Mapping[str, Any] = {"name": "sample", "version": 3}
    columns = (
        ColumnSchema("age", "number", "number", "a number", 39.0),
        ColumnSchema("job", "category", "string", "a word", "clerk"),
        ColumnSchema("born", "date", "datetime", "a date", "1984-05-01"),
        ColumnSchema("member", "binary", "boolean", "true or false", True),
        ColumnSchema("photo", "image", "binary", "a PNG, JPEG, GIF, BMP or WebP image"),
    )
    ignored = frozenset({"shoe"})
    answers = (
        ColumnSchema("rich", "binary", "string", "a class"),
        ColumnSchema("rich.probability.no", "probability", "number", "a number from 0 to 1"),
        ColumnSchema("rich.probability.yes", "probability", "number", "a number from 0 to 1"),
        ColumnSchema("rich.decision", "decision", "boolean", "true or false"),
    )

    def problems(self, frame: pl.DataFrame) -> list[Problem]:
        """Words in the number column that are no numbers."""
        ages = frame["age"].cast(pl.Float64, strict=False)
        bad = (frame["age"].is_not_null() & ages.is_null()).arg_true().to_list()
        return [Problem(row, "age", f'"{frame["age"][row]}"', "a number") for row in bad]

    def unseen(self, frame: pl.DataFrame) -> dict[str, int]:
        """Jobs that nobody saw in training."""
        job = frame["job"].cast(pl.String)
        return {"job": int((job.is_not_null() & ~job.is_in(SEEN)).sum())}

    def predict(self, frame: pl.DataFrame, *, check: bool = True) -> pl.DataFrame:
        """P(yes) = age / 100. A job called "crash" is a defect of the model."""
        if (frame["job"].cast(pl.String) == "crash").any():
            raise RuntimeError("the model crashed")
        yes = (frame["age"].cast(pl.Float64).fill_null(0.0) / 100.0).clip(0.0, 1.0)
        return pl.DataFrame(
            {
                "rich": pl.Series(["yes" if p >= 0.5 else "no" for p in yes], dtype=pl.String),
                "rich.probability.no": 1.0 - yes,
                "rich.probability.yes": yes,
                "rich.decision": yes >= 0.4,
            }
        )


def sample_answer(num_rows: int = 2) -> Answer:
    """An answer of the sample model."""
    columns: dict[str, list[Any]] = {
        "rich": ["no"] * num_rows,
        "rich.probability.no": [0.75] * num_rows,
        "rich.probability.yes": [0.25] * num_rows,
        "rich.decision": [False] * num_rows,
    }
    return Answer(num_rows, columns, {"job": 1})


def check_protocol(make: Callable[[Servable, int], Protocol], good: bytes) -> None:
    """Run every check. make: the class. good: a body with two rows of the sample model, which must be accepted."""
    protocol = make(Sample(), 16)
    check_routes(protocol)
    check_decode(protocol, good)
    check_encode(protocol, good)
    check_errors(protocol)
    check_stream(protocol, good)
    check_hostile(protocol, good)


def check_routes(protocol: Protocol) -> None:
    """Absolute paths, each once; at least one predicts; what the others describe is JSON, 503 only while not ready."""
    endpoints = protocol.routes()
    keys = [(endpoint.method, endpoint.path) for endpoint in endpoints]
    assert len(set(keys)) == len(keys), f"a route is given twice: {keys}"
    assert all(path.startswith("/") for _, path in keys), "paths start with /"
    assert any(endpoint.describe is None and endpoint.method == "POST" for endpoint in endpoints), "no route predicts"
    for endpoint in endpoints:
        if endpoint.describe is not None:
            for ready in (True, False):
                status, record = endpoint.describe(Status(ready=ready))
                assert status == 200 or (status == 503 and not ready), f"{endpoint.path}: {status}"
                orjson.dumps(record)
        else:
            assert not endpoint.public, f"{endpoint.path}: predictions need a key"


def check_decode(protocol: Protocol, good: bytes) -> None:
    """A good body gives the model's columns, in order, the same each time."""
    cells = protocol.decode(good)
    assert isinstance(cells, Cells)
    assert cells.num_rows == 2, f"the good body must have two rows, found {cells.num_rows}"
    assert tuple(cells.columns) == tuple(column.name for column in Sample.columns)
    assert len(cells.dtypes) == len(Sample.columns)
    assert all(len(column) == 2 for column in cells.columns.values())
    assert protocol.decode(good) == cells, "the same bytes must give the same cells"


def check_encode(protocol: Protocol, good: bytes) -> None:
    """An answer is JSON in which every value of the prediction can be found."""
    body = protocol.encode(protocol.decode(good), sample_answer())
    leaves = list(_leaves(orjson.loads(body)))
    for wanted in ("no", 0.75, 0.25, False):
        count = sum(type(leaf) is type(wanted) and leaf == wanted for leaf in leaves)
        assert count >= 2, f"{wanted!r} of two rows is not in the answer: {body!r}"


def check_errors(protocol: Protocol) -> None:
    """A bad answer is JSON that holds the message and what was found where."""
    failure = RequestError.of_problems([Problem(1, "age", 'the text "x"', "a number")])
    text = protocol.encode_error(failure).decode()
    orjson.loads(text)
    for wanted in ("1 problem", "age", "a number"):
        assert wanted in text, f"{wanted!r} is not in {text}"


def check_stream(protocol: Protocol, good: bytes) -> None:
    """Streaming works, or says that it does not."""
    try:
        protocol.encode_stream(protocol.decode(good), iter([sample_answer()]))
    except RequestError as failure:
        assert 400 <= failure.status < 500


def check_hostile(protocol: Protocol, good: bytes, count: int = 300, seed: int = 0) -> None:
    """Whatever the bytes are, `decode` gives cells or a RequestError below 500."""
    for body in mutations(good, count, seed):
        try:
            cells = protocol.decode(body)
        except RequestError as failure:
            assert 400 <= failure.status < 500, f"{failure.status} for {body[:200]!r}"
            assert failure.message, f"no message for {body[:200]!r}"
        else:
            assert 0 < cells.num_rows <= 16


def mutations(good: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Bodies that never were good, and `count` that almost are: bytes cut and spliced, or JSON with odd values in it."""
    generator = random.Random(seed)
    yield from _HOSTILE
    for number in range(count):
        yield _respelt(good, generator) if number % 2 else orjson.dumps(_replaced(orjson.loads(good), generator))


def _respelt(good: bytes, generator: random.Random) -> bytes:
    """A few places of the bytes are cut, doubled or replaced."""
    body = bytearray(good)
    for _ in range(generator.randint(1, 4)):
        start = generator.randrange(len(body) + 1)
        end = min(len(body), start + generator.choice((0, 1, 1, 2, 8, 64)))
        noise = bytes(generator.randrange(256) for _ in range(4))
        body[start:end] = generator.choice((*_PIECES, noise, good[end:start]))
    return bytes(body)


def _replaced(record: Any, generator: random.Random) -> Any:
    """One node of the JSON, at any depth, is another value; or a key of an object is lost."""
    if isinstance(record, dict) and record and generator.random() < 0.85:
        key = generator.choice(list(record))
        if generator.random() < 0.1:
            return {other: value for other, value in record.items() if other != key}
        return record | {key: _replaced(record[key], generator)}
    if isinstance(record, list) and record and generator.random() < 0.85:
        position = generator.randrange(len(record))
        return [*record[:position], _replaced(record[position], generator), *record[position + 1 :]]
    return generator.choice(_VALUES)


_HOSTILE = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b'"rows"',
    b"NaN",
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"[" * 100_000,
    b'{"rows":' * 5_000,
    b'{"rows": null, "inputs": null}',
    b'{"rows": [], "inputs": []}',
    b'{"rows": [null], "inputs": [null]}',
    b'{"rows": [{}], "inputs": [{}]}',
    b'{"rows": [[1, 2]], "inputs": [[1, 2]]}',
    b'{"rows": {"age": 1}, "inputs": {"age": 1}}',
    b'{"rows": [{"age": 1e999}]}',
    b'{"rows": [{"age": ' + b"9" * 5_000 + b"}]}",
    b'{"rows": [{"job": "\\ud800"}]}',
    b'{"rows": [' + b"{}," * 10_000 + b"{}]}",
    b'{"inputs": [{"name": "age", "shape": [1e9], "datatype": "FP64", "data": []}]}',
    b'{"inputs": [{"name": "age", "shape": [99999999999], "datatype": "FP64", "data": [1]}]}',
    b'{"inputs": [{"name": "age", "shape": [-1], "datatype": "FP64", "data": [1]}]}',
    b'{"inputs": [{"name": ["age"], "shape": "x", "datatype": {}, "data": {}}]}',
)

_PIECES = (
    *(b"", b"null", b"true", b"[]", b"{}", b"-1", b"1e308", b"1e-400", b"18446744073709551615", b"9" * 30),
    *(b'"x"', b"[1,2]", b'{"a":1}', b",", b'"', b"\\u0000", b"\x00", b"\xc3\x28", b"NaN", b"Infinity"),
    *(b'"age":', b'"photo":"%%"'),
)


_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**63, 2**64 - 1, 1e308, 0.5, "", "x", "39", "nan", "1984-05-01", "\x00", "\U0001f600"),
    *([], {}, [1], [[1]], {"a": 1}, "x" * 100_000, [0] * 1_000, "R0lG", "R0lGODlh", ["x"], {"name": "age"}),
)


def _leaves(record: Any) -> Iterator[Any]:
    if isinstance(record, dict):
        for value in record.values():
            yield from _leaves(value)
    elif isinstance(record, list):
        for value in record:
            yield from _leaves(value)
    else:
        yield record
