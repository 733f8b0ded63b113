"""Lines with one JSON object each: what is wrong with one, and the types of many. polars reads them; what it takes for right is looked
at once more, for it drops the second of two equal keys without a word.

Used by the sources that read JSON. Read lode/data/formats/json_types.py next.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NoReturn

import polars as pl

from lode.core.errors import DataError
from lode.data.formats import json_types

_HALF = re.compile(rb"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..\\u[dD])[c-fC-F])", re.DOTALL)
_MAX_DIGITS = 40


def load(text: bytes) -> Any:
    """A JSON value as Python objects. Errors: ValueError with what is wrong, in words."""
    try:
        value = json.loads(
            text, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole, object_pairs_hook=_without_doubles
        )
        if has_half(text):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError as error:
        raise ValueError(f"holds half of a character (\\u{ord(error.object[error.start]):x} without its other half)") from error
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8") from error
    except RecursionError as error:
        raise ValueError("is nested too deep") from error
    except ValueError as error:
        message = str(error)
        raise ValueError(message if message.startswith("holds") else f"is no JSON ({message})") from error


def has_half(text: bytes) -> bool:
    """Whether half of a character beyond the first 65,536 seems to stand alone, as where a program cut a text within an emoji."""
    return b"\\u" in text and _HALF.search(text) is not None


def _finite(word: str) -> float:
    number = float(word)
    if math.isinf(number):
        raise ValueError(f"holds {word[:20]}, which is larger than any number of 64 bits; write null")
    return number


def _whole(word: str) -> int:
    number = int(word) if len(word) <= _MAX_DIGITS else 1 << 128
    if not -(1 << 127) <= number < 1 << 127:
        raise ValueError(f"holds {word[:20]}..., a whole number of more than 128 bits; write it as text, between quotes")
    return number


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f'holds the key "{twice[:100]}" twice in one object, and readers differ on which counts; remove one')
    return found


class _DoubleError(Exception):
    """An object names a key twice."""


def _is_once(pairs: list[tuple[str, Any]]) -> None:
    """Keeps nothing, which makes it three times as fast as reading."""
    if len(dict(pairs)) < len(pairs):
        raise _DoubleError


_KEYS = json.JSONDecoder(object_pairs_hook=_is_once)


def are_once(blocks: Iterable[bytes], num_objects: int, num_cells: int) -> bool:
    """Whether no key stands twice in an object, by counts alone: many times faster than `check_keys`, which is left to look where this
    gives False (where objects are nested, or nulls are written).

    blocks: lines that polars has read. num_objects: how many objects it found. num_cells: cells of them that are no nulls.
    """
    num_keys = num_opened = 0
    for block in blocks:
        # Blanks before a colon hide a key. One byte is found many times faster than two, and tabs are in few files.
        if b" :" in block or any(blank in block and blank + b":" in block for blank in (b"\t", b"\r")):
            return False
        num_keys += block.count(b'":')
        num_opened += block.count(b"{")
        if num_keys > num_cells or num_opened > num_objects:
            return False
    # As many keys as cells, and none within another object: each key gave a cell, so none was dropped.
    return num_keys == num_cells and num_opened == num_objects


def check_keys(block: bytes, where: str, unit: str, num_before: int) -> None:
    """Look for a key that stands twice in one object, of which polars would take the first and Python the last.

    block: lines that polars has read. unit, num_before: as in `types_of`.
    Errors: DataError naming the line and the key.
    """
    try:
        # A newline never stands in a string.
        _KEYS.decode(f"[{block.decode().strip().replace(chr(10), ',')}]")
        return
    except (_DoubleError, ValueError, RecursionError):
        pass  # the second where lines are blank
    for number, line in enumerate(block.split(b"\n"), start=num_before + 1):
        text = _problem_within(line) if line.strip() else ""
        if text:
            raise _no_object(where, unit, number, text)


def _problem_within(line: bytes) -> str:
    """As `problem`, for a line of several: Python would overlook a byte order mark at its start, polars does not."""
    if line.startswith(codecs.BOM_UTF8):
        return "begins with a byte order mark, as where files were joined; remove it"
    return problem(line)


def _no_object(where: str, unit: str, number: int, text: str) -> DataError:
    return DataError(f'{where}: {unit} {number:,} {text}. Each must be one JSON object, for example {{"age": 31}}.')


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"holds {word}, which JSON does not know; write null")


def problem(line: bytes) -> str:
    """What is wrong with a line that should hold one JSON object, or an empty string."""
    try:
        value = load(line)
    except ValueError as error:
        return str(error)
    return "" if isinstance(value, dict) else f"holds a JSON {type(value).__name__}, an object is needed"


def types_of(block: bytes, where: str, unit: str, num_before: int) -> tuple[dict[str, pl.DataType], int]:
    """Types of the columns, and number, of the lines of a block; each must be one object.

    unit: what messages call a line ("record", "line"); lines may be blank where they are lines.
    Errors: DataError for the first line that is no JSON object.
    """
    lines = block.removesuffix(b"\n").split(b"\n")
    try:
        # Of half a character polars makes a NUL.
        frame = pl.DataFrame() if has_half(block) else pl.read_ndjson(block, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError):
        frame = pl.DataFrame()
    if frame.height == len(lines):
        num_cells = frame.height * frame.width - sum(frame.null_count().row(0))
        if not are_once([block], frame.height, num_cells):
            check_keys(block, where, unit, num_before)
        return dict(frame.schema), len(lines)
    # Blank lines, faults, or cells of several types, which polars does not turn into text on its own.
    types: dict[str, pl.DataType] = {}
    for number, line in enumerate(lines, start=num_before + 1):
        is_blank = not line.strip()
        if is_blank and unit == "line":
            continue
        text = "is empty (a comma too many)" if is_blank else _problem_within(line)
        if text:
            raise _no_object(where, unit, number, text)
        types = json_types.union_fields(types, json_types.fields_of(load(line)))
    return types, len(lines)
