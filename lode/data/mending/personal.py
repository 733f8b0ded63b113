"""Personal data in a column of cells: counted, or replaced. Cells are cut by polars (regular expressions in Rust, linear time).

A cell becomes tokens that, joined, are the cell. Only tokens that may hold something go through lode/data/mending/identifiers.py, each
different one once. Used by the cleaner `pii` and by the profile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import cast

import polars as pl

from lode.data.mending import identifiers
from lode.data.mending.identifiers import DEFAULT_COUNTRIES, KINDS, MASK, Found
from lode.data.mending.names import LATIN

Replace = Callable[[str, str], str]
"""replace(hit, kind) -> what stands in its place."""

NAME = "name"
DEFAULT_KINDS = tuple(kind for kind in KINDS if kind != NAME)
"""Every kind but names: those are found by lists, which miss many and take words for names."""

_SAMPLE_CELLS = 20_000
_SAMPLE_CHARS = 2_000
_CHUNK_ROWS = 20_000
_EXACT = 2**53
_KINDS_SCHEMA: dict[str, pl.DataType] = {"token": pl.String(), "kind": pl.List(pl.String)}

_WORTH = r"@|[0-9](?:[^0-9A-Za-z]{0,3}[0-9A-Fa-f:]){4}|[A-Z]{2}[0-9]{2}"
"""A cell without this holds nothing but names."""
_SHORT_NUMBER = "^-?[0-9]{0,8}$"
"""No number of a person that is written in digits alone has fewer than nine."""
_NINE_DIGITS = 10**8
_NAME_WORTH = "[A-Z\u00c0-\u00de][a-z\u00c0-\u024f]|[\u4e00-\u9fff]{2}"

_WORD = "[0-9A-Za-z_@:%+.'()/\u00c0-\u024f-]"
_TELLING = f"(?:{_WORD}{{0,80}}[0-9@]{_WORD}*|[0-9A-Z]{{4}})"
_CUTS = (MASK, f"{_WORD}{{0,80}}[0-9@]{_WORD}*(?:[ \u00a0\u2011]{{1,2}}{_TELLING}){{0,60}}")
"""Runs of words that each have a digit or an @ (or, as in some bank accounts, four capitals): whatever is found stands inside one."""
_REST = (
    "[\u4e00-\u9fff]+",
    "[A-Za-z_\u00c0-\u024f]+[^0-9A-Za-z_+(\\[\u00c0-\u024f\u4e00-\u9fff]*",
    "[^0-9A-Za-z_+(\\[\u00c0-\u024f\u4e00-\u9fff]+",
    "(?s:.)",
)
"""What is left, in long pieces; together the parts match every character."""

_MIN_CHARS = 6


class Detector:
    """Finds kinds of personal data.

    Args:
        kinds: which, of lode.data.mending.identifiers.KINDS.
        countries: whose national numbers, of lode.data.mending.identifiers.COUNTRIES.
    """

    def __init__(self, kinds: tuple[str, ...] = DEFAULT_KINDS, countries: tuple[str, ...] = DEFAULT_COUNTRIES) -> None:
        self.kinds, self.countries = frozenset(kinds), frozenset(countries)
        has_names = NAME in self.kinds
        self._worth = f"{_WORTH}|{_NAME_WORTH}" if has_names else _WORTH
        self._cuts = "|".join((*_CUTS, *((LATIN,) if has_names else ()), *_REST))
        self._min_chars = 2 if has_names else _MIN_CHARS

    def replaced(self, cells: pl.Series, replace: Replace) -> pl.Series:
        """The String column with every hit replaced; the very same column where there is none."""
        worth = cells.str.contains(self._worth).fill_null(False)
        if not worth.any():
            return cells
        before = cells.filter(worth).unique(maintain_order=True)
        chunks = range(0, len(before), _CHUNK_ROWS)
        after = pl.concat([self._rewritten(before.slice(start, _CHUNK_ROWS), replace) for start in chunks])
        changed = before.ne_missing(after)
        return cells.replace(before.filter(changed), after.filter(changed)) if changed.any() else cells

    def kinds_of(self, cells: pl.Series) -> pl.Series:
        """Per cell the kinds in it, a sorted List(String), empty where there are none."""
        worth = (cells.str.contains(self._worth) & ~cells.str.contains(_SHORT_NUMBER)).fill_null(False)
        if not worth.any():
            return pl.Series([[]], dtype=pl.List(pl.String)).new_from_index(0, len(cells))
        places, hits = self._cut(cells.filter(worth))
        places = places.with_columns(worth.arg_true().gather(places["place"]).alias("place"))
        kinds = {token: sorted({hit.kind for hit in found}) for token, found in hits.items()}
        known = pl.DataFrame({"token": list(kinds), "kind": list(kinds.values())}, schema=_KINDS_SCHEMA)
        found = places.join(known, on="token").explode("kind").group_by("place").agg(pl.col("kind").unique().sort())
        rows = pl.DataFrame({"place": pl.int_range(len(cells), dtype=pl.UInt32, eager=True)})
        return rows.join(found, on="place", how="left", maintain_order="left")["kind"].fill_null([])

    def _rewritten(self, cells: pl.Series, replace: Replace) -> pl.Series:
        places, hits = self._cut(cells)
        if not hits:
            return cells
        spelled = pl.Series([_spelled(token, found, replace) for token, found in hits.items()], dtype=pl.String)
        touched = places.filter(pl.col("token").is_in(list(hits)))["place"].unique()
        parts = places.filter(pl.col("place").is_in(touched.implode()))
        parts = parts.with_columns(pl.col("token").replace(pl.Series(list(hits), dtype=pl.String), spelled))
        joined = parts.group_by("place", maintain_order=True).agg(pl.col("token").str.join(""))
        return cells.clone().scatter(joined["place"], joined["token"])

    def _cut(self, cells: pl.Series) -> tuple[pl.DataFrame, dict[str, list[Found]]]:
        """The tokens of each cell (place, token), and what is in those tokens that hold something."""
        frame = pl.DataFrame({"place": pl.int_range(len(cells), dtype=pl.UInt32, eager=True), "token": cells})
        places = frame.select("place", pl.col("token").str.extract_all(self._cuts)).explode("token", empty_as_null=False)
        places = places.drop_nulls()
        worth = pl.col("token").str.len_bytes().ge(self._min_chars) & pl.col("token").str.contains(self._worth)
        tokens = places.lazy().select("token").filter(worth).unique(maintain_order=True).collect()["token"]
        found = ((token, identifiers.find(token, self.kinds, self.countries)) for token in tokens)
        return places, {token: hits for token, hits in found if hits}


def find_pii(cells: pl.Series, kinds: tuple[str, ...] = DEFAULT_KINDS) -> dict[str, int]:
    """How many of the cells hold each kind of personal data; at most 20,000 cells, evenly chosen, and 2,000 characters of each.

    cells: of any type; kinds that no cell holds are left out. Numbers with a fraction, dates and bytes hold none.
    """
    if cells.dtype.is_numeric() and _are_short(cells):
        return {}
    texts = as_texts(cells.gather_every(max(1, len(cells) // _SAMPLE_CELLS)).head(_SAMPLE_CELLS))
    if texts is None:
        return {}
    found = Detector(kinds).kinds_of(texts.str.head(_SAMPLE_CHARS)).explode().drop_nulls()
    return dict(sorted(Counter(found.to_list()).items()))


def _are_short(numbers: pl.Series) -> bool:
    """Whether no number has nine digits before the point: most columns of numbers need no closer look."""
    low, high = cast("tuple[float | None, float | None]", (numbers.min(), numbers.max()))
    return low is None or high is None or (low > -_NINE_DIGITS and high < _NINE_DIGITS)


def as_texts(cells: pl.Series) -> pl.Series | None:
    """The column as String, if its cells can hold personal data: words, and whole numbers."""
    dtype = cells.dtype
    if dtype == pl.String:
        return cells
    if isinstance(dtype, pl.Categorical | pl.Enum) or dtype.is_integer():
        return cells.cast(pl.String)
    if dtype.is_float():
        whole = cells.is_finite() & (cells == cells.floor()) & (cells.abs() < _EXACT)
        return cells.set(~whole.fill_null(False), None).cast(pl.Int64).cast(pl.String)
    return None


def _spelled(token: str, hits: list[Found], replace: Replace) -> str:
    """The token with its hits replaced."""
    parts, start = [], 0
    for hit in hits:
        parts += [token[start : hit.start], replace(token[hit.start : hit.end], hit.kind)]
        start = hit.end
    return "".join([*parts, token[start:]])
