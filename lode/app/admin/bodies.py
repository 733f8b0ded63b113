"""JSON bodies, strictly: UTF-8, no duplicate keys, no NaN, nothing too deep, no characters that a terminal or a database would obey."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from lode.app.admin.contracts import Body
from lode.app.contracts import RequestError
from lode.core.errors import listed, near_miss

MAX_DEPTH = 16
_HIDDEN = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_WHERE = re.compile(r" - at `\$\.?(.*)`$")
_MOST_QUERY = 16
_LONGEST_QUERY = 4096


def read(body: bytes, kind: type[Body]) -> Body:
    """The body as an operation takes it. Errors: RequestError 400 for what is no JSON, 422 for what is not of the form."""
    try:
        record = json.loads(body.decode("utf-8"), object_pairs_hook=_pairs, parse_constant=_constant)
    except RecursionError:
        raise RequestError(400, "invalid_json", f"the body is nested deeper than {MAX_DEPTH}.") from None
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError, too
        raise RequestError(400, "invalid_json", f"the body is no JSON: {_told(error)}.") from None
    _check(record, 0)
    try:
        return msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        raise RequestError(422, "invalid_request", _explained(str(error), kind)) from None


def query(raw: bytes, allowed: Mapping[str, str]) -> dict[str, str]:
    """The query by name. Errors: RequestError 422 for a name that is unknown or comes twice."""
    if len(raw) > _LONGEST_QUERY:
        raise RequestError(422, "invalid_request", f"the query has more than {_LONGEST_QUERY} bytes.")
    try:
        pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_QUERY, errors="strict")
    except ValueError:
        raise RequestError(422, "invalid_request", f"the query is no UTF-8, or has more than {_MOST_QUERY} parts.") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in allowed or name in found:
            words = f"allowed: {listed(allowed, 16) or 'none'}, each once.{near_miss(name[:64], allowed)}"
            raise RequestError(422, "invalid_request", f'query: found "{_plain(name)}", {words}')
        _check(value, 0)
        found[name] = value
    return found


def is_plain(text: str) -> bool:
    """Whether a part of a path may be a name of anything: 1 to 128 visible ASCII characters."""
    return 0 < len(text) <= 128 and text.isascii() and text.isprintable() and " " not in text


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice in one object")
    return found


def _constant(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _check(value: Any, depth: int) -> None:
    """Errors: RequestError 422."""
    if depth > MAX_DEPTH:
        raise RequestError(400, "invalid_json", f"the body is nested deeper than {MAX_DEPTH}.")
    if isinstance(value, str):
        if _HIDDEN.search(value):
            raise RequestError(422, "invalid_request", f"found a control character in {_plain(value)}. Leave it out.")
    elif isinstance(value, dict):
        for name, item in value.items():
            _check(name, depth + 1)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise RequestError(422, "invalid_request", "found a number that is too large.")
    elif isinstance(value, int) and abs(value) >= 2**63:
        raise RequestError(422, "invalid_request", "found a whole number of more than 63 bits. Write a smaller one.")


def _plain(text: str) -> str:
    return ascii(text[:60])[1:-1]


def _told(error: ValueError) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeError) else _plain(str(error))


def _explained(problem: str, kind: type[Body]) -> str:
    """What msgspec found, where, and what is allowed."""
    found = _WHERE.search(problem)
    where = f"{found[1]}: " if found else ""
    text = _WHERE.sub("", problem).replace("Object contains unknown field", "unknown key")
    text = text.replace("Object missing required field", "missing key")
    fields = kind.__struct_fields__
    named = re.search("unknown key `(.*)`", text)
    near = near_miss(named[1], fields) if named else ""
    return f"{where}{text[:300]}. Allowed: {listed(fields, 16)}.{near}"
