"""Numbers as people write them: "1,234.50 EUR", "12 %", "(300)", "16.9 OZ.", "1.2 million", full-width digits. Text in, text out.

How one column is written (its decimal mark, what its percents mean, its unit) is learned by `learn` and given back to `mended`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import polars as pl

from lode.data import cells

CURRENCY = r"(?i)[$\u20ac\u00a3\u00a5\u20b9\u20a9\u20bd\uffe5\u5143]|\b(?:usd|eur|gbp|cny|rmb|jpy|chf|inr|hkd|aud|cad)\b"
_MINUS = "[\u2212\u2012\u2013]"
_GAPS = r"[\s\u00a0\u202f'\u2019_]"
_GROUPED = {
    ".": r"^[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?$",
    ",": r"^[+-]?(?:\d{1,3}(?:\.\d{3})+|\d+)(?:,\d*)?$",
}
"""Per decimal mark: numbers whose marks must be changed before they can be read."""

_SIMPLE = r"^[$]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?$"
_TORN = r"^[$]?[0-9][0-9,]*$"
"""Of cells that are not simple: groups that are none (1991,300), no number with a "." before the decimals."""
_PARTS = r"^([+-]?(?:\d[\d.,\s'\u2019_]*|[.,]\d+)(?:[eE][+-]?\d+)?)\s*(.*)$"
_TAIL = r"^\s*(%|\u2030|[^\W\d_]+[23]?)"
_FRACTION = r"^([+-]?)(?:(\d{1,9})\s+)?(\d{1,2})/(2|3|4|8|16|32|64)$"
"""A ratio such as 120/80 is no fraction: only denominators of rulers and kitchens are."""
_VULGAR = {"\u00bc": " 1/4", "\u00bd": " 1/2", "\u00be": " 3/4"}

_TIMES = {
    **dict.fromkeys(("k", "thousand", "\u5343"), 1e3), "\u4e07": 1e4, **dict.fromkeys(("mn", "mio", "million"), 1e6),
    "\u4ebf": 1e8, **dict.fromkeys(("bn", "mrd", "billion"), 1e9), "trillion": 1e12,
}  # fmt: skip
_MASS = {
    "mg": 1e-3, "g": 1.0, "gram": 1.0, "\u514b": 1.0, "oz": 28.349523125, "ounce": 28.349523125, "lb": 453.59237, "pound": 453.59237,
    "\u65a4": 500.0, **dict.fromkeys(("kg", "kilo", "kilogram", "\u5343\u514b", "\u516c\u65a4"), 1e3), "t": 1e6, "tonne": 1e6,
}  # fmt: skip
_LENGTH = {
    "mm": 1e-3, "cm": 1e-2, "\u5398\u7c73": 1e-2, "m": 1.0, "meter": 1.0, "metre": 1.0, "\u7c73": 1.0, "in": 0.0254, "inch": 0.0254,
    "inche": 0.0254, "ft": 0.3048, "foot": 0.3048, "feet": 0.3048, "yd": 0.9144, "yard": 0.9144, "mi": 1609.344, "mile": 1609.344,
    **dict.fromkeys(("km", "kilometer", "kilometre", "\u516c\u91cc", "\u5343\u7c73"), 1e3),
}  # fmt: skip
_AREA = {
    "cm2": 1e-4, **dict.fromkeys(("m2", "sqm", "\u5e73\u65b9\u7c73", "\u5e73\u7c73"), 1.0), "ha": 1e4, "km2": 1e6,
    "sqft": 0.09290304, "ft2": 0.09290304, "acre": 4046.8564224,
}  # fmt: skip
_VOLUME = {
    "ml": 1e-3, "\u6beb\u5347": 1e-3, "cl": 1e-2, "dl": 0.1, "l": 1.0, "liter": 1.0, "litre": 1.0, "\u5347": 1.0,
    "gal": 3.785411784, "gallon": 3.785411784,
}  # fmt: skip
_TIME = {
    "ms": 1e-3, **dict.fromkeys(("s", "sec", "second", "\u79d2"), 1.0), **dict.fromkeys(("min", "minute", "\u5206\u949f"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "\u5c0f\u65f6"), 3600.0), **dict.fromkeys(("d", "day", "\u5929"), 86_400.0), "week": 604_800.0,
}  # fmt: skip
_BYTES = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40}
_UNITS = {
    word: (dimension, size)
    for dimension, table in enumerate((_MASS, _LENGTH, _AREA, _VOLUME, _TIME, _BYTES))
    for word, size in table.items()
}
"""Word -> what it measures, and its size in that dimension's own unit. Sources: the international yard and pound; SI; the US gallon."""

_MOSTLY = 0.9
_MAX_DIGITS = 16
_AS_LARGE = 5.0
_PERCENT = ("%", "\u2030")


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """How a column's numbers are written.

    decimal: "." or ",". percent: "share" (12% is 0.12) or "number" (12% is 12). unit: the word of its unit, "" for none.
    """

    decimal: str = "."
    percent: str = "share"
    unit: str = ""


def learn(texts: pl.Series, decimal: str, percent: str) -> NumberStyle:
    """The style of a column from some of its different cells. percent: "share", "number", or "auto" for what fits its plain numbers."""
    # Cells of digits and marks alone say something only beside cells with a percent sign.
    telling = texts.filter(~texts.str.contains(_SIMPLE)) if decimal == "." else texts
    parts = _split(_plain(telling), decimal)
    tails = Counter(word for word in parts["tail"].to_list() if word)
    if percent == "auto":
        percent = _meaning_of_percent(_split(_plain(texts), decimal)) if "%" in tails else "share"
    return NumberStyle(decimal, percent, _likely_unit(tails))


def mended(texts: pl.Series, style: NumberStyle) -> pl.Series:
    """Cells (K,) as text that any reader takes for the number; null where there is none.

    A cell that is a number as it stands stays as it stands, so that nothing is reported that was not needed.
    """
    if style.decimal == ",":
        return _mended(texts, style)
    # Most cells that need mending hold groups of three digits and a sign of money, and nothing else: two passes instead of twenty.
    simple = texts.str.contains(_SIMPLE) & (texts.str.len_bytes() <= _MAX_DIGITS)
    quick = texts.str.strip_prefix("$").str.replace_all(",", "", literal=True)
    others = (~simple).arg_true()  # no missing cells
    return quick.clone().scatter(others, _odd(texts.gather(others), style)) if len(others) else quick


def _odd(texts: pl.Series, style: NumberStyle) -> pl.Series:
    """As `_mended` with a "." before the decimals, which costs milliseconds for a single cell: not for groups that are torn."""
    open_cells = (~(texts.str.contains(_TORN) & ~texts.str.contains(_SIMPLE))).arg_true()
    nothing = pl.Series(texts.name, [None], dtype=pl.String).new_from_index(0, len(texts))
    return nothing.scatter(open_cells, _mended(texts.gather(open_cells), style)) if len(open_cells) else nothing


def _mended(texts: pl.Series, style: NumberStyle) -> pl.Series:
    parts = _split(_plain(texts), style.decimal)
    tails = parts["tail"].unique().to_list()
    factors = {tail: size for tail in tails if (size := _factor(tail, style)) is not None}
    times = parts["tail"].replace_strict(list(factors), list(factors.values()), default=None, return_dtype=pl.Float64)
    values = (parts["number"].cast(pl.Float64, strict=False) * times).round_sig_figs(15).cast(pl.String)
    # More digits than a float holds are the noise of another program: 0.027000000000000003.
    as_it_stands = times.eq_missing(1.0) & (parts["number"].str.len_chars() <= _MAX_DIGITS)
    result = parts["number"].zip_with(as_it_stands, values)
    null = pl.Series([None], dtype=pl.String)
    result = result.zip_with(cells.numbers(result).is_not_null(), null)
    if style.decimal == ",":
        return result
    return texts.zip_with(cells.numbers(texts).is_not_null(), result)


def _plain(texts: pl.Series) -> pl.Series:
    """Without full-width characters, currencies, brackets and blanks around."""
    text = pl.col("text").str.replace_many(_VULGAR).str.normalize("NFKC").str.replace_all(_MINUS, "-")
    text = text.str.replace_all(CURRENCY, " ").str.strip_chars(cells.BLANKS)
    text = text.str.replace(r"^\((.+)\)$", "-$1").str.replace(r"^([^-]*\d[^-]*)-$", "-$1").str.replace(r"^([+-])\s+", "$1")
    return texts.to_frame("text").select(_fractions(text)).to_series()


def _fractions(text: pl.Expr) -> pl.Expr:
    sign, whole, top, bottom = (text.str.extract(_FRACTION, group) for group in (1, 2, 3, 4))
    size = whole.cast(pl.Float64).fill_null(0.0) + top.cast(pl.Float64) / bottom.cast(pl.Float64)
    proper = top.cast(pl.Int64) < bottom.cast(pl.Int64)
    return pl.when(proper.fill_null(False)).then(pl.concat_str(sign, size.round_sig_figs(15).cast(pl.String))).otherwise(text)


def _split(plain: pl.Series, decimal: str) -> pl.DataFrame:
    """number: text without groups, null where there is none. tail: the word behind it, "" for none, "?" for what is no word."""
    parts = plain.rename("text").to_frame().select(pl.col("text").str.extract_groups(_PARTS).alias("parts")).unnest("parts")
    number = pl.col("1").str.replace_all(_GAPS, "")
    number = pl.when(number.str.contains(_GROUPED[decimal])).then(_without_groups(number, decimal)).otherwise(number)
    rest = pl.col("2")
    word = rest.str.extract(_TAIL, 1)
    tail = pl.when(rest == "").then(pl.lit("")).otherwise(word.fill_null("?"))
    # What stands behind the unit ("oz. can") is let pass for units that are known, and for no others.
    has_more = rest.str.replace(_TAIL, "").str.strip_chars(" .") != ""
    return parts.select(number.alias("number"), _lower(tail).alias("tail"), has_more.fill_null(False).alias("more")).with_columns(
        tail=pl.when(pl.col("more") & ~pl.col("tail").is_in(list(_UNITS))).then(pl.lit("?")).otherwise("tail")
    )


def _lower(tail: pl.Expr) -> pl.Expr:
    """Lower case without a plural's s; M and B alone are millions and billions, m is a metre."""
    small = tail.str.to_lowercase()
    short = (
        pl.when((small.str.len_chars() > 3) | small.is_in(["lbs", "hrs", "yds"])).then(small.str.strip_suffix("s")).otherwise(small)
    )
    return pl.when(tail == "M").then(pl.lit("million")).when(tail == "B").then(pl.lit("billion")).otherwise(short)


def _without_groups(text: pl.Expr, decimal: str) -> pl.Expr:
    if decimal == ".":
        return text.str.replace_all(",", "", literal=True)
    return text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)


def _factor(tail: str, style: NumberStyle) -> float | None:
    """What a number with this word behind it is multiplied by; None where the cell is no number of this column."""
    if tail == "" or (tail == style.unit and tail != "?"):
        return 1.0
    if tail in _PERCENT:
        return 1.0 if style.percent == "number" else {"%": 1e-2, "\u2030": 1e-3}[tail]
    if tail in _TIMES:
        return _TIMES[tail]
    own, other = _UNITS.get(style.unit), _UNITS.get(tail)
    return other[1] / own[1] if own and other and own[0] == other[0] else None


def _likely_unit(tails: Counter[str]) -> str:
    """The most frequent unit that is known; another word only where nearly every word is the same."""
    units = {word: count for word, count in tails.items() if word not in _PERCENT and word not in _TIMES and word != "?"}
    if not units:
        return ""
    best = min(units, key=lambda word: (-units[word], word))
    known = {word: count for word, count in units.items() if word in _UNITS}
    if best in known:
        return best
    return best if units[best] >= _MOSTLY * (sum(units.values()) + tails["?"]) else ""


def _meaning_of_percent(parts: pl.DataFrame) -> str:
    """The word "number" where cells with a percent sign are as large as those without, so that the sign says nothing."""
    sizes = parts.select(pl.col("number").cast(pl.Float64, strict=False).abs(), pl.col("tail"))
    with_sign, without = (sizes.filter(pl.col("tail") == tail)["number"].median() for tail in ("%", ""))
    if not isinstance(with_sign, float) or not isinstance(without, float) or not with_sign or not without:
        return "share"
    return "number" if 1.0 / _AS_LARGE < with_sign / without < _AS_LARGE else "share"
