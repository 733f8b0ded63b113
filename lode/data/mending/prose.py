"""How good a text is to learn a language from, by the simple rules of published corpora. Vectorised; used by the cleaner `quality`.

Gopher: Rae 2021, arXiv 2112.11446, table A1. C4: Raffel 2019, arXiv 1910.10683, section 2.2. FineWeb: Penedo 2024, arXiv 2406.17557,
section 3.6. A word is what stands between blanks; texts that are mostly in a script without blanks are counted by characters.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import polars as pl

_NO_BLANKS = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_NO_BLANKS_SHARE = 0.3
_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
_BULLET = r"^\s*[\u2022\u2023\u25e6\u2043\u25cf*-]"
_ELLIPSIS = r"(?:\.\.\.|\u2026)\s*$"
_ENDED = r"""[.!?\u2026\u3002\uff01\uff1f"'\u201d\u2019\u300d\u300f\uff09)]\s*$"""
_SHORT_LINE = 30
_GRAM = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a good text; None where a rule is off. `banned` holds words, the others are numbers."""

    min_words: int | None = None
    max_words: int | None = None
    min_mean_word: float | None = None
    max_mean_word: float | None = None
    max_symbols: float | None = None
    max_bullets: float | None = None
    max_ellipses: float | None = None
    min_alphabetic: float | None = None
    min_stop_words: int | None = None
    max_repeated_lines: float | None = None
    max_repeated_line_chars: float | None = None
    max_top_bigram: float | None = None
    max_repeated_grams: float | None = None
    min_ended_lines: float | None = None
    max_short_lines: float | None = None
    banned: tuple[str, ...] = ()


_SAID = {
    "min_words": "too few words", "max_words": "too many words", "min_mean_word": "words too short", "max_mean_word": "words too long",
    "max_symbols": "too many # or ...", "max_bullets": "too many bullets", "max_ellipses": "too many lines end in ...",
    "min_alphabetic": "too few letters", "min_stop_words": "too few stop words", "max_repeated_lines": "lines repeated",
    "max_repeated_line_chars": "much text in repeated lines", "max_top_bigram": "one pair of words too often",
    "max_repeated_grams": "runs of five words repeated", "min_ended_lines": "too few lines end a sentence",
    "max_short_lines": "too many short lines",
}  # fmt: skip
_OF_WORDS = ("min_mean_word", "max_mean_word", "min_stop_words", "max_top_bigram", "max_repeated_grams", "max_short_lines")
"""Rules that have no meaning where nothing stands between words, and a line of 30 characters is a long one."""


def why_bad(texts: pl.Series, limits: Limits) -> pl.Series:
    """The first rule that each text breaks, with its figure ("too few words (12)"); null where it breaks none, and for missing cells."""
    frame = _figures(texts.cast(pl.String), limits)
    found = pl.lit(None, pl.String)
    if limits.banned:
        words = frame["text"].str.to_lowercase().str.extract_many([word.lower() for word in limits.banned]).list.first()
        frame = frame.with_columns(word=words)
        found = pl.when(pl.col("word").is_not_null()).then(pl.format('holds "{}"', pl.col("word"))).otherwise(found)
    for name in reversed(_asked(limits)):
        figure, bound = pl.col(name), getattr(limits, name)
        broken = figure < bound if name.startswith("min_") else figure > bound
        if name in _OF_WORDS:
            broken &= ~pl.col("unspaced")
        found = pl.when(broken).then(pl.format(f"{_SAID[name]} ({{}})", figure.cast(pl.Float64).round(3))).otherwise(found)
    reasons = frame.select(found.alias("why")).to_series()
    return reasons.str.replace(r"\.0\)$", ")").set(frame["text"].is_null(), None)


def _asked(limits: Limits) -> list[str]:
    return [item.name for item in fields(limits) if item.name in _SAID and getattr(limits, item.name) is not None]


def _figures(texts: pl.Series, limits: Limits) -> pl.DataFrame:
    """A column for each rule that is asked for, beside `text` and `unspaced`."""
    asked = set(_asked(limits))
    frame = pl.DataFrame({"text": texts}).with_columns(
        chars=pl.col("text").str.count_matches(r"\S"),
        spaced=pl.col("text").str.count_matches(r"\S+"),
        bare=pl.col("text").str.count_matches(_NO_BLANKS),
    )
    frame = frame.with_columns(unspaced=pl.col("bare") > _NO_BLANKS_SHARE * pl.col("chars"))
    words = pl.when("unspaced").then("chars").otherwise("spaced")
    frame = frame.with_columns(words=words, each=pl.max_horizontal(words, 1))
    frame = frame.with_columns(**{name: _BY_TEXT[name] for name in asked & _BY_TEXT.keys()})
    if asked & _BY_LINE.keys():
        lines = pl.col("text").str.split("\n").list.eval(pl.element().str.strip_chars().filter(pl.element().str.contains(r"\S")))
        frame = frame.with_columns(lines=lines).with_columns(**{name: _BY_LINE[name] for name in asked & _BY_LINE.keys()})
    if asked & {"max_top_bigram", "max_repeated_grams"}:
        frame = frame.with_columns(_repeated(frame["text"], frame["unspaced"]))
    return frame


def _text_rules() -> dict[str, pl.Expr]:
    text, each = pl.col("text"), pl.col("each")
    lettered = pl.when("unspaced").then(text.str.count_matches(r"\p{L}")).otherwise(text.str.count_matches(r"\S*\p{L}\S*"))
    stops = pl.sum_horizontal(text.str.contains(rf"(?i)\b{word}\b").cast(pl.Int32) for word in _STOP_WORDS)
    mean = pl.col("chars") / each
    symbols = pl.max_horizontal(text.str.count_matches("#"), text.str.count_matches(r"\.\.\.|\u2026")) / each
    return {
        "min_words": pl.col("words"), "max_words": pl.col("words"), "min_mean_word": mean, "max_mean_word": mean,
        "max_symbols": symbols, "min_alphabetic": lettered / each, "min_stop_words": stops,
    }  # fmt: skip


def _share_of_lines(found: pl.Expr) -> pl.Expr:
    """found: a list of booleans, one for each line."""
    return found.list.eval(pl.element().cast(pl.Float64)).list.mean()


def _line_rules() -> dict[str, pl.Expr]:
    lines = pl.col("lines")
    number = pl.max_horizontal(lines.list.len(), 1)
    chars = lines.list.eval(pl.element().str.len_chars()).list.sum()
    different = lines.list.unique()
    kept = different.list.eval(pl.element().str.len_chars()).list.sum()
    return {
        "max_bullets": _share_of_lines(lines.list.eval(pl.element().str.contains(_BULLET))),
        "max_ellipses": _share_of_lines(lines.list.eval(pl.element().str.contains(_ELLIPSIS))),
        "min_ended_lines": _share_of_lines(lines.list.eval(pl.element().str.contains(_ENDED))),
        "max_short_lines": _share_of_lines(lines.list.eval(pl.element().str.len_chars() <= _SHORT_LINE)),
        "max_repeated_lines": 1 - different.list.len() / number,
        "max_repeated_line_chars": 1 - kept / pl.max_horizontal(chars, 1),
    }


_BY_TEXT, _BY_LINE = _text_rules(), _line_rules()


def _repeated(texts: pl.Series, unspaced: pl.Series) -> list[pl.Series]:
    """Of each text the share of its characters in the most frequent pair of words, and in runs of five words that stood before."""
    lists = texts.zip_with(~unspaced.fill_null(True), pl.Series([""], dtype=pl.String)).str.extract_all(r"\S+")
    number_D = lists.list.len().fill_null(0).to_numpy().astype(np.int64)
    words = lists.explode(empty_as_null=False, keep_nulls=False)
    length_W = words.str.len_chars().to_numpy().astype(np.int64)
    text_W = np.repeat(np.arange(len(number_D)), number_D)
    hash_W = words.hash(0).to_numpy()
    chars_D = np.maximum(np.bincount(text_W, length_W, minlength=len(number_D)), 1)
    top = _top_pair(hash_W, length_W, text_W, len(number_D)) / chars_D
    runs = _in_known_runs(hash_W, length_W, text_W, len(number_D)) / chars_D
    return [pl.Series("max_top_bigram", top), pl.Series("max_repeated_grams", runs)]


def _grams(hash_W: np.ndarray, text_W: np.ndarray, size: int) -> np.ndarray:
    """A hash for each run of `size` words, with its text in it; runs that reach over the end of a text are cut off: see `_starts`."""
    mixed = text_W.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for at in range(size):
        mixed[: len(mixed) - at] = (mixed[: len(mixed) - at] ^ hash_W[at:]) * np.uint64(0xBF58476D1CE4E5B9 + 2 * at)
    return mixed


def _starts(text_W: np.ndarray, size: int) -> np.ndarray:
    """Where runs of `size` words begin that lie in one text."""
    last = len(text_W) - size + 1
    return np.flatnonzero(text_W[:last] == text_W[size - 1 :]) if last > 0 else np.empty(0, np.int64)


def _top_pair(hash_W: np.ndarray, length_W: np.ndarray, text_W: np.ndarray, num_texts: int) -> np.ndarray:
    """Characters of each text in its most frequent pair of words; 0 where none stands twice."""
    starts = _starts(text_W, 2)
    _, first, count = np.unique(_grams(hash_W, text_W, 2)[starts], return_index=True, return_counts=True)
    begin = starts[first[count > 1]]
    chars = (length_W[begin] + length_W[begin + 1]) * count[count > 1] if len(begin) else np.empty(0, np.int64)
    top = np.zeros(num_texts)
    np.maximum.at(top, text_W[begin], chars)
    return top


def _in_known_runs(hash_W: np.ndarray, length_W: np.ndarray, text_W: np.ndarray, num_texts: int) -> np.ndarray:
    """Characters of each text in runs of five words that stood in it before."""
    starts = _starts(text_W, _GRAM)
    _, first = np.unique(_grams(hash_W, text_W, _GRAM)[starts], return_index=True)
    again = np.delete(starts, first)
    edges = np.bincount(again, minlength=len(text_W) + _GRAM) - np.bincount(again + _GRAM, minlength=len(text_W) + _GRAM)
    inside = np.cumsum(edges)[: len(text_W)] > 0
    return np.bincount(text_W[inside], length_W[inside], minlength=num_texts)
