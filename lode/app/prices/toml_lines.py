"""TOML with the line of each key, and numbers with a point kept as they were written: `tomllib` tells neither."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from lode.core.errors import BillingError, reason
from lode.core.types import Key

_HEADER = re.compile(r"^\s*\[(\[)?\s*([A-Za-z0-9_.-]+)\s*\]?\]")
_ENTRY = re.compile(r"^\s*([A-Za-z0-9_-]+)\s*=")
_LARGEST_BYTES = 1_000_000


class Point(str):
    """A number with a point, an exponent, nan or inf, as its text: in binary it would not be exact."""


def read(path: Path) -> tuple[dict[str, Any], dict[Key, int]]:
    """The document, and the lines of its keys. Errors: BillingError where it is missing, too large, or no TOML."""
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise BillingError(f"{path}: found more than {_LARGEST_BYTES} bytes, which is no plan. Name another file.")
        text = path.read_bytes().decode("utf-8-sig")
        return tomllib.loads(text, parse_float=Point), lines_of(text)
    except (OSError, UnicodeDecodeError) as error:
        raise BillingError(f"{path}: cannot be read ({reason(error)}). Name a plan's file, such as plans/team.toml.") from None
    except tomllib.TOMLDecodeError as error:
        raise BillingError(f"{path}: found no TOML ({error}). Correct that line.") from None
    except (ValueError, RecursionError) as error:  # a whole number of 5000 digits, brackets in brackets in brackets
        raise BillingError(f"{path}: found a value that is too large ({error}). Correct it.") from None


def lines_of(text: str) -> dict[Key, int]:
    """(key, ...) -> line, from 1, for keys that begin a line and for headers; values over several lines may hide some."""
    found: dict[Key, int] = {}
    counts: dict[str, int] = {}
    table: Key = ()
    for number, line in enumerate(text.splitlines(), 1):
        header, entry = _HEADER.match(line), _ENTRY.match(line)
        if header:
            name = header[2]
            if header[1]:
                counts[name] = counts.get(name, -1) + 1
            table = (*name.split("."), counts[name]) if header[1] else tuple(name.split("."))
            found.setdefault(table, number)
        elif entry:
            found.setdefault((*table, entry[1]), number)
    return found


def line_of(lines: dict[Key, int], key: Key) -> int | None:
    """The line of a key, or of the nearest thing around it; None where nothing is known."""
    for size in range(len(key), 0, -1):
        if key[:size] in lines:
            return lines[key[:size]]
    return None
