"""The keys of a request body, read with their types and bounds. The first thing that is wrong is a 400 that names its key.

null stands for a key that was left out. Nothing is ignored without a word: a key that nobody knows is an error.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from lode.app.contracts import RequestError
from lode.app.language.contracts import DEEPEST
from lode.app.validate import describe, parse_json, short
from lode.core.errors import listed, near_miss

_MAX_WORD = 200
"""Longer names are not compared with the known ones: near misses take time quadratic in the length."""


def wrong(param: str, found: str, allowed: str, code: str = "invalid_value") -> RequestError:
    """The 400 for one key."""
    return RequestError(400, code, f"{param}: found {found}, allowed: {allowed}.", param=param)


def body_fields(body: bytes) -> Fields:
    """The keys of a body. Errors: RequestError 400 for what is no JSON object in UTF-8, or nested too deeply."""
    record = parse_json(body)
    if not _within(record, DEEPEST):
        raise RequestError(400, "invalid_json", f"body: lists and objects more than {DEEPEST} levels deep. Make it flatter.")
    return Fields(record)


class Fields:
    """One JSON object. where: what stands before its keys in messages."""

    def __init__(self, record: Mapping[str, Any], where: str = ""):
        self._record = record
        self._where = where

    def __contains__(self, name: str) -> bool:
        return self._record.get(name) is not None

    def path(self, name: str) -> str:
        """The key as messages call it."""
        return f"{self._where}{name}"

    def only(self, known: Collection[str], refused: Mapping[str, str] | None = None) -> None:
        """Errors: RequestError 400 for a key that nobody knows, or one of OpenAI's that lode does not do; refused: key -> why not."""
        for name, value in self._record.items():
            if name in known or (value is None and name in (refused or {})):
                continue
            path = self.path(short(name))
            if refused and name in refused:
                raise RequestError(400, "unsupported_parameter", f"{path}: not supported: {refused[name]}", param=path)
            hint = near_miss(name, known) if len(name) <= _MAX_WORD else ""
            text = f"{path}: unknown key, allowed: {listed(sorted(known), limit=40)}.{hint}"
            raise RequestError(400, "unknown_parameter", text, param=path)

    def any(self, name: str) -> Any:
        """The value as it is, None where there is none."""
        return self._record.get(name)

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self._record.get(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        raise wrong(self.path(name), describe(value), "true or false", "invalid_type")

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int | None:
        """A whole number from low to high."""
        value = self._record.get(name)
        if value is None:
            return default
        words = f"a whole number from {low:,} to {high:,}"
        if type(value) is not int:
            raise wrong(self.path(name), describe(value), words, "invalid_type")
        if not low <= value <= high:
            raise wrong(self.path(name), describe(value), words)
        return value

    def number(self, name: str, low: float, high: float, default: float) -> float:
        """A number from low to high."""
        value = self._record.get(name)
        if value is None:
            return default
        words = f"a number from {low:g} to {high:g}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong(self.path(name), describe(value), words, "invalid_type")
        if not math.isfinite(value) or not low <= value <= high:
            raise wrong(self.path(name), describe(value), words)
        return float(value)

    def text(self, name: str, longest: int, default: str | None = None) -> str | None:
        """A text of at most `longest` characters."""
        value = self._record.get(name)
        if value is None:
            return default
        if type(value) is not str:
            raise wrong(self.path(name), describe(value), "a text", "invalid_type")
        if len(value) > longest:
            raise wrong(self.path(name), f"{len(value):,} characters", f"at most {longest:,}")
        return value

    def word(self, name: str, allowed: Collection[str], default: str) -> str:
        """One of some words."""
        value = self._record.get(name)
        if value is None:
            return default
        if type(value) is not str or value not in allowed:
            hint = near_miss(value, allowed) if type(value) is str and len(value) <= _MAX_WORD else ""
            path = self.path(name)
            text = f"{path}: found {describe(value)}, allowed: {', '.join(allowed)}.{hint}"
            raise RequestError(400, "invalid_value", text, param=path)
        return value

    def items(self, name: str, most: int) -> list[Any] | None:
        """A list of at most `most`."""
        value = self._record.get(name)
        if value is None:
            return None
        if type(value) is not list:
            raise wrong(self.path(name), describe(value), "a list", "invalid_type")
        if len(value) > most:
            raise wrong(self.path(name), f"{len(value):,} of them", f"at most {most:,}")
        return value

    def inner(self, name: str) -> Fields | None:
        """An object."""
        value = self._record.get(name)
        return None if value is None else fields_of(value, self.path(name))


def fields_of(value: Any, path: str) -> Fields:
    """An object as its keys. Errors: RequestError 400 where it is none."""
    if type(value) is not dict:
        raise wrong(path, describe(value), "an object", "invalid_type")
    return Fields(value, f"{path}.")


def _within(value: Any, deepest: int) -> bool:
    """Whether lists and objects are at most so deep, level by level."""
    level = [value]
    for _ in range(deepest + 1):
        level = [
            item for holder in level for item in (holder.values() if type(holder) is dict else holder) if type(item) in (dict, list)
        ]
        if not level:
            return True
    return False
