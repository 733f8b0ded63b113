"""Tokens per word and per byte by language, of a sample: what a tokenizer costs the readers of each language.

py3langid (the extra `language`) tells languages apart; without it there are no such figures.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from lode.data.corpus import words

_SAMPLE, _PER_BATCH, _CHARS, _FEWEST = 2_000, 1_000, 1_000, 5


class Languages:
    """Sums by language over the first documents of each batch, some thousands in all."""

    def __init__(self) -> None:
        self._sums: dict[str, np.ndarray] = {}
        self._seen = 0

    def add(self, texts: pl.Series, lengths_D: np.ndarray) -> None:
        """texts: of a batch; lengths_D: tokens of each."""
        detect = _detector()
        number = min(_PER_BATCH, _SAMPLE - self._seen, len(texts))
        if detect is None or number <= 0:
            return
        sample = texts.head(number)
        self._seen += number
        columns = [np.ones(number), lengths_D[:number], words.counts(sample).to_numpy(), sample.str.len_bytes().to_numpy()]
        figures = np.stack(columns, axis=1)
        for text, row in zip(sample.to_list(), figures, strict=True):
            language = detect(text[:_CHARS])
            self._sums[language] = self._sums.get(language, np.zeros(4)) + row

    def figures(self) -> dict[str, dict[str, Any]]:
        """Language -> documents, tokens_per_word, tokens_per_byte; the most frequent first, those of very few documents left out."""
        ordered = sorted(self._sums.items(), key=lambda item: (-item[1][0], item[0]))
        return {
            language: {
                "documents": int(row[0]),
                "tokens_per_word": round(float(row[1] / max(row[2], 1)), 4),
                "tokens_per_byte": round(float(row[1] / max(row[3], 1)), 4),
            }
            for language, row in ordered
            if row[0] >= min(_FEWEST, self._seen)
        }


@functools.cache
def _detector() -> Callable[[str], str] | None:
    """What tells a text's language by two letters, or None where the package is not installed."""
    if importlib.util.find_spec("py3langid") is None:
        return None
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # 0.2 s and a package of its own: only who writes a corpus needs it

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=False)
    return lambda text: str(identifier.classify(text)[0])
