"""Texts as sets of shingles: short overlapping runs of characters or words, hashed to 30 bits. Used by lode/data/alike/near_text.py.

Texts are compared as they read: Unicode normal form KC, case folded, white space joined. Nothing here loops over rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

MAX_CHARS = 1 << 22
"""Of a longer text only so many characters are compared."""

NUM_BITS = 30

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MIXER = np.uint64(0xD6E8FEB86659FD93)
_CJK_SIZE = 2
# Han, kana, Hangul and their compatibility forms: a word is one or two characters.
_CJK = ((0x2E80, 0x9FFF), (0xAC00, 0xD7AF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
_SIGNS = r"\p{Han}\p{Hiragana}\p{Katakana}"
_WORD = rf"[{_SIGNS}]|[[\p{{L}}\p{{N}}\p{{M}}]--[{_SIGNS}]]+"
_SPACES = r"\s\s+|[\s--\x20]"  # what is one space already stays untouched, which is most of a text
_FOLDED = {"\u00df": "ss", "\u03c2": "\u03c3"}  # sharp s, final sigma: what lower case leaves apart


@dataclass(frozen=True, slots=True)
class Shingles:
    """values: int32 (S,), below 2 ** NUM_BITS, of all rows one after the other, repeated ones included.

    lengths: int64 (N,), how many each row has; 0 for a blank text.
    """

    values: np.ndarray
    lengths: np.ndarray


def normalised(text: pl.Expr) -> pl.Expr:
    """What is compared: texts that differ in case, width, ligatures or white space only are the same. Missing ones are ""."""
    text = text.cast(pl.String).fill_null("").str.head(MAX_CHARS).str.normalize("NFKC").str.to_lowercase()
    return text.str.replace_all(_SPACES, " ").str.strip_chars(" ").str.replace_many(list(_FOLDED), list(_FOLDED.values()))


def slices(frame: pl.DataFrame, text: str, num_bytes: int) -> Iterator[pl.DataFrame]:
    """Runs of rows with about so many bytes of text each, in order; one longer text is a run of its own. `text` has no nulls."""
    ends = frame[text].str.len_bytes().to_numpy().astype(np.int64).cumsum()
    cuts = (np.flatnonzero(np.diff(ends // num_bytes)) + 1).tolist()
    for start, end in zip([0, *cuts], [*cuts, frame.height], strict=True):
        if end > start:
            yield frame[start:end]


def shingles(texts: pl.Series, by: Literal["characters", "words"], size: int) -> Shingles:
    """Every run of `size` characters or words of each (normalised) text; a shorter text is one shingle.

    Characters of Chinese, Japanese and Korean start runs of two; as words they stand alone.
    """
    codes, lengths = _words(texts) if by == "words" else _characters(texts)
    is_short = _are_cjk(codes) if by == "characters" and size > _CJK_SIZE else None
    ends = lengths.cumsum()
    values, valid = _runs(codes, ends, lengths, size)
    if is_short is not None:
        short_values, short_valid = _runs(codes, ends, lengths, _CJK_SIZE)
        values, valid = np.where(is_short, short_values, values), np.where(is_short, short_valid, valid)
    before = np.concatenate([[0], valid.cumsum()])
    counts = before[ends] - before[ends - lengths]
    return Shingles(_mixed(values[valid]), counts)


def _characters(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Code points, uint64, of all texts one after the other, and how many each has (N,)."""
    codes = np.frombuffer("".join(texts.to_list()).encode("utf-32-le"), dtype=np.uint32)
    return codes.astype(np.uint64), texts.str.len_chars().to_numpy().astype(np.int64)


def _words(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Hashes, uint64, of the words of all texts one after the other, and how many each has (N,)."""
    found = texts.str.extract_all(_WORD)
    words = found.list.explode(empty_as_null=False)
    return words.hash(0).to_numpy(), found.list.len().to_numpy().astype(np.int64)


def _are_cjk(codes: np.ndarray) -> np.ndarray | None:
    """Bool (C,), or None where no character is."""
    if not len(codes) or codes.max() < _CJK[0][0]:
        return None
    found = np.zeros(len(codes), dtype=bool)
    for low, high in _CJK:
        found |= (codes >= low) & (codes <= high)
    return found


def _runs(codes: np.ndarray, ends: np.ndarray, lengths: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Hash of the run that starts at each place, and whether it ends in the same text; a text of fewer has one, of what there is."""
    values = codes
    for step in range(1, size):
        values = values * _MULTIPLIER
        values[:-step] += codes[step:]
    valid = np.ones(len(codes), dtype=bool)
    for back in range(1, size):
        # The run that starts `back` places before the end is cut, except where the text begins there: then it is all there is.
        valid[(ends - back)[lengths > back]] = False
    return _repaired(values, codes, ends, lengths, size), valid


def _repaired(values: np.ndarray, codes: np.ndarray, ends: np.ndarray, lengths: np.ndarray, size: int) -> np.ndarray:
    """The one run of a text of fewer than `size` items must not see the next text."""
    for length in range(1, size):
        starts = (ends - length)[lengths == length]
        if len(starts):
            own = codes[starts]
            for step in range(1, length):
                own = own * _MULTIPLIER + codes[starts + step]
            values = values.copy() if values is codes else values
            values[starts] = own
    return values


def _mixed(values: np.ndarray) -> np.ndarray:
    """NUM_BITS well-mixed bits of each."""
    values = values ^ (values >> np.uint64(32))
    values *= _MIXER
    values ^= values >> np.uint64(29)
    values *= _MULTIPLIER
    return (values >> np.uint64(64 - NUM_BITS)).astype(np.int32)
