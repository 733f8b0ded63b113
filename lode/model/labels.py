"""Class labels: one canonical word for every way of writing the same label, and the way back to the data's own form.

Shared by the tasks `binary` and `multiclass`; read those next.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from lode.core.errors import DataError, listed

Label = str | int | float | bool

_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
_PLAIN_WHOLE = re.compile(r"0|-?[1-9][0-9]*")
_TRUTH = {"true": "true", "false": "false"}


def canonical(value: object) -> str | None:
    """The word of a label: 1, 1.0, "1" and "1.0" give "1"; True and "True" give "true". None where it is missing."""
    if value is None:
        return None
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return _canonical_float(float(value))
    text = str(value).strip()
    if _WHOLE.fullmatch(text):
        return _canonical_whole(text)
    return _TRUTH.get(text.lower(), text) or None


def _canonical_float(value: float) -> str | None:
    if math.isnan(value):
        return None
    return str(int(value)) if value.is_integer() else repr(value)


def _canonical_whole(text: str) -> str:
    whole = text.split(".")[0]
    # "007" and "+1" are codes, not numbers: they keep their form.
    return whole if _PLAIN_WHOLE.fullmatch(whole) else text


def own_form(value: Label) -> Label:
    """A label as JSON keeps it, in the data's own type; a whole float becomes the integer that it is."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return int(number) if number.is_integer() else number
    return str(value).strip()


def canonical_all(values: np.ndarray) -> list[str | None]:
    """`canonical` of every value (N,); each distinct value is looked at once."""
    if values.dtype != object:
        distinct, inverse = np.unique(values, return_inverse=True)
        words = np.array([canonical(value) for value in distinct.tolist()], dtype=object)
        return words[inverse].tolist() if len(words) else []
    known: dict[tuple[type, object], str | None] = {}
    out = []
    for value in values.tolist():
        key = (type(value), value)
        if key not in known:
            known[key] = canonical(value)
        out.append(known[key])
    return out


def found(values: np.ndarray) -> dict[str, tuple[Label, int]]:
    """Per canonical word that occurs: the first form in which the data have it, and how many rows have it."""
    words = canonical_all(values)
    counts = Counter(word for word in words if word is not None)
    first: dict[str, Label] = {}
    for word, value in zip(words, values.tolist(), strict=True):
        if word is not None and word not in first:
            first[word] = own_form(value)
            if len(first) == len(counts):
                break
    return {word: (first[word], counts[word]) for word in first}


def sort_words(words: Sequence[str]) -> list[str]:
    """Numeric order where every word is a number, else alphabetical."""
    try:
        return sorted(words, key=lambda word: (float(word), word))
    except ValueError:
        return sorted(words)


def encode(values: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """int64 (N,): the position of each value's word in `classes`, -1 where it is missing or none of them."""
    codes = {word: code for code, word in enumerate(classes)}
    words = canonical_all(values)
    return np.fromiter((-1 if word is None else codes.get(word, -1) for word in words), dtype=np.int64, count=len(words))


def as_array(forms: Sequence[Label]) -> np.ndarray:
    """Labels (K,) as bool, int64 or float64 where all are, else as an object array of strings."""
    kinds = {type(form) for form in forms}
    if kinds == {bool}:
        return np.array(forms, dtype=bool)
    if kinds == {int} and all(-(2**63) <= int(form) < 2**63 for form in forms):
        return np.array(forms, dtype=np.int64)
    if kinds <= {int, float}:
        return np.array(forms, dtype=np.float64)
    labels = np.empty(len(forms), dtype=object)
    labels[:] = [str(form) for form in forms]
    return labels


def describe(values: dict[str, tuple[Label, int]]) -> str:
    """`"0" (212 rows), "1" (357 rows)` for messages."""
    return listed(f'"{word}" ({values[word][1]:,} rows)' for word in sort_words(list(values)))


def need_two_classes(values: dict[str, tuple[Label, int]]) -> None:
    """Errors: DataError where fewer than two labels occur."""
    if not values:
        raise DataError("output: no label found, at least two are needed. Check that the column has values")
    if len(values) == 1:
        only = describe(values)
        raise DataError(f"output: only the label {only} found, at least two are needed. There is nothing to learn from it")


def words(cell: object, separator: str) -> list[str]:
    """The canonical words of a cell that holds several: a list of them, or a text; none of an empty or missing cell."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return []
    parts = cell.split(separator) if isinstance(cell, str) else cell if isinstance(cell, list | tuple | np.ndarray) else [cell]
    return [word for word in map(canonical, parts) if word is not None]


def lists(rows: Iterable[Sequence[object]]) -> np.ndarray:
    """An object array (N,) of lists, however long they are."""
    found = [list(row) for row in rows]
    out = np.empty(len(found), dtype=object)
    for place, row in enumerate(found):
        out[place] = row
    return out
