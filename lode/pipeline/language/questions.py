"""The rows of a file of questions, examples put before a question, and what a model's context has room for."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.data.corpus.contracts import Tokenizer
from lode.data.place import Place

ENDINGS = (".jsonl", ".ndjson", ".csv")
QUESTION = "{question}"

Row = Mapping[str, Any]


def contents(place: Place, path: str, sha256: str | None, origin: str | None) -> bytes:
    """The bytes of a file, unpacked where it ends in .gz. Errors: DataError for none, or others than those wanted."""
    found = place.resolve(path, sha256, origin).read_bytes()
    digest = hashlib.sha256(found).hexdigest()
    if sha256 is not None and digest != sha256:
        raise DataError(f"{path}: found sha256 {digest}, allowed is {sha256}. Take the file from where the other one came.")
    return gzip.decompress(found) if path.lower().endswith(".gz") else found


def rows(data: bytes, path: str, columns: Sequence[str]) -> Sequence[Row]:
    """The rows of a jsonl or a csv file, each with every one of `columns`. Errors: DataError naming file, line and what is missing."""
    name = path.lower().removesuffix(".gz")
    if not name.endswith(ENDINGS):
        raise DataError(f"{path}: is no file of questions, allowed are {listed(ENDINGS)} (also with .gz). Save it as one of them.")
    found = _csv(data, path) if name.endswith(".csv") else _jsonl(data, path)
    if not found:
        raise DataError(f"{path}: holds no question, one is needed.")
    for line, row in enumerate(found, start=1):
        for column in columns:
            if row.get(column) is None:
                near = near_miss(column, list(row))
                raise DataError(f'{path}: row {line}: no "{column}", found {listed(list(row))}.{near} Name the column that has it.')
    return found


def _csv(data: bytes, path: str) -> Sequence[Row]:
    try:
        return pl.read_csv(io.BytesIO(data), infer_schema=False).rows(named=True)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{path}: cannot be read as csv ({str(error).splitlines()[0]}). Save it as UTF-8 with one header."
        ) from error


def _jsonl(data: bytes, path: str) -> Sequence[Row]:
    found = []
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}: line {number} is no JSON ({error}). Write one object a line.") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}: line {number} is no JSON object. Write one object a line.")
        found.append(row)
    return found


def spread(count: int, most: int | None) -> np.ndarray:
    """Numbers of at most `most` of `count` things, evenly spaced, int64."""
    kept = count if most is None else min(count, most)
    return np.linspace(0, count - 1, kept).round().astype(np.int64) if kept else np.zeros(0, np.int64)


class Context:
    """Puts examples before a question, as many as there is room for.

    cut: questions of which even the beginning had to be left out; fewer: those with fewer examples than were asked for.
    """

    def __init__(self, tokenizer: Tokenizer, context: int, examples: Sequence[str]) -> None:
        self.tokenizer, self.context, self.examples = tokenizer, context, examples
        self.cut = self.fewer = 0

    def fitted(self, question: str, room: int) -> list[int]:
        """The tokens of examples and question, which leave `room` tokens of the context; at least one."""
        most = max(1, self.context - room)
        for skipped in range(len(self.examples) + 1):
            tokens = self._tokens("\n\n".join([*self.examples[skipped:], question]))
            if len(tokens) <= most:
                self.fewer += skipped > 0
                return tokens
        self.fewer += bool(self.examples)
        self.cut += 1
        return tokens[-most:]

    def _tokens(self, text: str) -> list[int]:
        begin = [] if self.tokenizer.begin is None else [self.tokenizer.begin]
        return [*begin, *map(int, self.tokenizer.encode([text])[0])]

    def told(self) -> dict[str, Any]:
        """For the report."""
        return {name: count for name, count in (("cut questions", self.cut), ("with fewer examples", self.fewer)) if count}
