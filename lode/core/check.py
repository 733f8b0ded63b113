"""Holds a user's values against a Signature: near misses, types, ranges, what is missing. Converts as it goes (exact decimals).

Every problem is a Finding; nothing is raised here. Read `core.registry` and `core.spec` next: they do the raising.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lode.core import spans
from lode.core.errors import listed, near_miss
from lode.core.fits import misfits
from lode.core.signature import NESTED, OptionType, Signature, jsonable
from lode.core.types import Component, ExactFloat, Key, Range

_DECIMAL = re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?$", re.ASCII)
_ORDER = (
    *("Literal", "None", "bool", "int", "Decimal", "float", "ByteSize", "TimeSpan", "FilePath", "ColumnName", "str"),
    *("SourceSpec", "FormatSpec", "EncoderSpec", "FamilySpec", "PretrainSpec", "list", "dict", "Any"),
    *("ArchitectureSpec", "TokenizerSpec", "ObjectiveSpec", "AdapterSpec", "BenchmarkSpec", "DamageSpec"),
)
"""In a union the narrowest type is tried first, in whatever order the signature has them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem: where it stands, and `found ..., allowed: ...`. beside: the option that it does not fit, where it is about two."""

    key: Key
    text: str
    beside: Key = ()


class _RefusedError(Exception):
    """The value does not fit the type (internal; becomes a Finding)."""


def dotted(key: Key) -> str:
    """`data.clean[1].numbers`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def shown(value: Any) -> str:
    """A value as an error message quotes it, cut to 60 characters."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, ExactFloat):
        return value.text
    if isinstance(value, int | float | Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = str(value)
    return f'"{text[:57]}..."' if len(text) > 60 else f'"{text}"'


def unknown_word(word: str, allowed: Iterable[str]) -> str:
    """`found "scal", allowed: scale, clip. Did you mean "scale"?`"""
    words = list(allowed)
    if not words:
        return f'found "{word}", allowed: no options. Remove it.'
    return f'found "{word}", allowed: {listed(words)}.{near_miss(word, words)}'


ReadNested = Callable[[Any, str, Key, list[Finding], tuple[str, ...]], Component | None]
"""Reads a component inside an option: value, kind of extension, key, findings, options that the outer one gives (`core.registry`)."""


def check_options(
    options: Mapping[str, Any],
    signature: Signature,
    key: Key,
    findings: list[Finding],
    also: tuple[str, ...] = (),
    nested: ReadNested | None = None,
) -> dict[str, Any]:
    """Options as the class wants them.

    also: words that may stand beside them, for the list of what is allowed. nested: needed where an option is a component itself.
    """
    made: dict[str, Any] = {}
    known = len(findings)
    for name, value in options.items():
        option = signature.options.get(name)
        if option is None:
            findings.append(Finding((*key, name), unknown_word(name, (*also, *signature.options))))
        else:
            made[name] = convert(value, option.type, (*key, name), findings, nested)
    for name, option in signature.options.items():
        if option.required and name not in options:
            findings.append(Finding((*key, name), f'found nothing, allowed: {option.type.text}. Add "{name}: ...".'))
    if len(findings) == known and signature.constants.get("fits"):
        every = {name: made.get(name, option.default) for name, option in signature.options.items()}
        for name, text, other in misfits(every, signature.constants["fits"]):
            findings.append(Finding((*key, name), text, (*key, other) if other else ()))
    return made


def filled(options: Mapping[str, Any], signature: Signature) -> dict[str, Any]:
    """The options with every default filled in, as JSON knows them, in the order of the signature."""
    return {name: jsonable(options.get(name, option.default)) for name, option in signature.options.items()}


def convert(value: Any, kind: OptionType, key: Key, findings: list[Finding], nested: ReadNested | None = None) -> Any:
    """The value as the type wants it; a Finding (and the value itself) where it does not fit."""
    if kind.name == "list" and isinstance(value, list | tuple):
        return [convert(item, kind.items[0], (*key, index), findings, nested) for index, item in enumerate(value)]
    if kind.name == "dict" and isinstance(value, Mapping):
        return _convert_dict(value, kind, key, findings, nested)
    if kind.name == "union":
        return _convert_union(value, kind, key, findings, nested)
    if kind.name in NESTED and nested is not None:
        of_kind, given = NESTED[kind.name]
        return nested(value, of_kind, key, findings, given)
    try:
        return _leaf(value, kind)
    except _RefusedError:
        hint = near_miss(value, kind.literals()) if isinstance(value, str) else ""
        findings.append(Finding(key, f"found {shown(value)}, allowed: {kind.text}.{hint}"))
        return value


def _convert_dict(
    value: Mapping[Any, Any], kind: OptionType, key: Key, findings: list[Finding], nested: ReadNested | None
) -> dict[str, Any]:
    name_kind, item_kind = kind.items
    made = {}
    for name, item in value.items():
        text = str(name)
        if name_kind.name == "Literal" and text not in name_kind.words:
            findings.append(Finding((*key, text), unknown_word(text, name_kind.literals())))
            continue
        made[text] = convert(item, item_kind, (*key, text), findings, nested)
    return made


def _convert_union(value: Any, kind: OptionType, key: Key, findings: list[Finding], nested: ReadNested | None) -> Any:
    component = next((member for member in kind.items if member.name in NESTED), None)
    if component is not None and isinstance(value, str | Mapping | Component):
        return convert(value, component, key, findings, nested)
    inside: list[Finding] = []
    members = sorted(kind.items, key=lambda item: _ORDER.index(item.name))
    if _means_number(value, kind):
        # An amount out of range must not pass as the name of a column.
        members = [member for member in members if member.name != "ColumnName"]
    for member in members:
        tried: list[Finding] = []
        made = convert(value, member, key, tried, nested)
        if not tried:
            return made
        # A list that fits but for one item is reported by that item, not by "found a list".
        inside += [finding for finding in tried if len(finding.key) > len(key)]
    hint = near_miss(value, kind.literals()) if isinstance(value, str) else ""
    findings += inside or [Finding(key, f"found {shown(value)}, allowed: {kind.text}.{hint}")]
    return value


def _means_number(value: Any, kind: OptionType) -> bool:
    names = {member.name for member in kind.items}
    if isinstance(value, str):
        return "Decimal" in names and _DECIMAL.match(value.strip()) is not None
    return _is_number(value) and not names.isdisjoint({"int", "float", "Decimal"})


def _leaf(value: Any, kind: OptionType) -> Any:
    if kind.name == "Literal":
        for word in kind.words:
            if type(value) is type(word) and value == word:
                return word
        raise _RefusedError
    if kind.name not in _LEAVES:
        raise _RefusedError
    made = _LEAVES[kind.name](value)
    if kind.range is not None and not within(made, kind.range):
        raise _RefusedError
    return made


def within(value: int | float | Decimal, bounds: Range) -> bool:
    """Whether a number keeps the bounds."""
    low, high = bounds.low, bounds.high
    if low is not None and (value <= low if bounds.open_low else value < low):
        return False
    return not (high is not None and (value >= high if bounds.open_high else value > high))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _to_int(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _RefusedError


def _to_float(value: Any) -> float:
    if not _is_number(value):
        raise _RefusedError
    try:
        made = float(value)
    except OverflowError:
        raise _RefusedError from None
    if not math.isfinite(made):
        raise _RefusedError
    return made


def _to_decimal(value: Any) -> Decimal:
    """Exact: from the text as it was written, never through a float."""
    if isinstance(value, bool):
        raise _RefusedError
    if isinstance(value, Decimal):
        text = str(value)
    elif isinstance(value, ExactFloat):
        text = value.text
    elif isinstance(value, int | float):
        text = repr(value)
    else:
        text = value.strip() if isinstance(value, str) else ""
    if not _DECIMAL.match(text):
        raise _RefusedError
    return Decimal(text)


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"^([0-9]+(?:\.[0-9]+)?) ?([kmgt]i?)?b?$", re.ASCII | re.IGNORECASE)


def _to_bytes(value: Any) -> int:
    """`2GB` is 2,000,000,000, `2GiB` is 2**31; a whole number is bytes."""
    text = value.strip() if isinstance(value, str) else str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
    match = _SIZE.match(text)
    if match is None:
        raise _RefusedError
    return int(Decimal(match[1]) * _UNITS[(match[2] or "").lower()])


def _to_span(value: Any) -> str:
    """As it was written, where it is a time above 0."""
    if isinstance(value, str) and spans.seconds(value.strip()):
        return value
    raise _RefusedError


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _RefusedError


def _to_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise _RefusedError


def _to_path(value: Any) -> str:
    if isinstance(value, str) and value and "\0" not in value:
        return value
    raise _RefusedError


def _to_column(value: Any) -> str:
    """A column may be called 2020; its name is the text."""
    if isinstance(value, ExactFloat):
        return value.text
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value:
        return value
    raise _RefusedError


def _to_none(value: Any) -> None:
    if value is not None:
        raise _RefusedError


def _to_any(value: Any) -> Any:
    if isinstance(value, float):
        return _to_float(value)
    if isinstance(value, Mapping):
        return {str(name): _to_any(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_any(item) for item in value]
    return value


_LEAVES: dict[str, Callable[[Any], Any]] = {
    "int": _to_int,
    "float": _to_float,
    "bool": _to_bool,
    "str": _to_text,
    "Decimal": _to_decimal,
    "ColumnName": _to_column,
    "FilePath": _to_path,
    "ByteSize": _to_bytes,
    "TimeSpan": _to_span,
    "None": _to_none,
    "Any": _to_any,
}
