"""Texts before they are cut: lone surrogates (JSON can hold them, UTF-8 cannot), and words as people count them."""

from __future__ import annotations

import re

import polars as pl

_SURROGATE = re.compile("[\ud800-\udfff]")
CJK = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}"
"""Scripts that put no blanks between words."""
_WORD = rf"[{CJK}]|[^\s{CJK}]+"


def well_formed(text: str) -> str:
    """The text as UTF-8 can hold it: pairs of surrogates become their character, lone ones U+FFFD."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def counts(texts: pl.Series) -> pl.Series:
    """Words of each text: runs between blanks; in Chinese, Japanese, Korean and Thai, characters."""
    return texts.str.count_matches(_WORD).fill_null(0)
