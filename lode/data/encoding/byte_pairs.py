"""Byte pairs: frequent runs of bytes become tokens (Sennrich 2016, arXiv 1508.07909; on bytes as in GPT-2, Radford 2019).

The only file that imports the package tokenizers. See lode/data/encoding/tokens.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain

import numpy as np
import polars as pl
from tokenizers import Tokenizer as Engine
from tokenizers import models, pre_tokenizers, trainers

from lode.data.contracts import State
from lode.data.encoding.terms import Tokens
from lode.data.encoding.tokens import Tokenizer, chunks

_TRAINING_ROWS = 100_000
_NUM_BYTES = 256
_GLUE = "\u00b7"


def _alphabet() -> dict[str, int]:
    """GPT-2's sign for each byte: printable ones stand for themselves, the others are moved behind 255."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = (byte for byte in range(_NUM_BYTES) if byte not in set(printable))
    return {chr(byte): byte for byte in printable} | {chr(_NUM_BYTES + place): byte for place, byte in enumerate(moved)}


_BYTE_OF = _alphabet()


class BytePairs(Tokenizer):
    """Learnt on the training texts; nothing is unknown, in any script."""

    glue = _GLUE

    def __init__(self, max_chars: int) -> None:
        super().__init__(max_chars)
        self._tokens: list[str] = []
        self._merges: list[tuple[str, str]] = []
        self._engine = Engine(models.BPE())

    def fit(self, column: pl.Series, size: int) -> int:
        """100,000 texts at equal steps are enough to learn pairs from."""
        step = -(-len(column) // _TRAINING_ROWS) or 1
        trainer = trainers.BpeTrainer(
            vocab_size=max(size, _NUM_BYTES), min_frequency=2, initial_alphabet=sorted(_BYTE_OF), show_progress=False
        )
        engine = Engine(models.BPE())
        engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
        texts = (text for chunk in chunks(column.gather_every(step)) for text in self._lowered(chunk).drop_nulls().to_list())
        engine.train_from_iterator(texts, trainer)
        codes = engine.get_vocab()
        tokens = sorted(codes, key=codes.__getitem__)
        self._rebuild(tokens, json.loads(engine.to_str())["model"]["merges"])
        return max((int(self.tokens(chunk).lengths.max(initial=0)) for chunk in chunks(column)), default=0)

    def _rebuild(self, tokens: Sequence[str], merges: Sequence[Sequence[str]]) -> None:
        self._tokens = list(tokens)
        self._merges = [(left, right) for left, right in merges]
        vocabulary = {token: code for code, token in enumerate(self._tokens)}
        self._engine = Engine(models.BPE(vocab=vocabulary, merges=self._merges))
        self._engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]

    def tokens(self, column: pl.Series) -> Tokens:
        texts = ["" if text is None else text for text in self._lowered(column).to_list()]
        rows = [found.ids for found in self._engine.encode_batch_fast(texts)] if self._tokens else [[] for _ in texts]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        codes = np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=int(lengths.sum()))
        return Tokens(codes + np.int32(1), lengths)

    @property
    def count(self) -> int:
        return len(self._tokens)

    @property
    def names(self) -> Sequence[str]:
        return [_shown(_content(token)) for token in self._tokens]

    def text(self, codes: Sequence[int]) -> str:
        content = b"".join(_content(self._tokens[code - 1]) for code in codes if code)
        return content.decode("utf-8", errors="replace")

    def state(self) -> State:
        return {"tokens": list(self._tokens), "merges": [list(pair) for pair in self._merges]}

    def restore(self, state: State) -> None:
        self._rebuild(state["tokens"], state["merges"])


def _content(token: str) -> bytes:
    return bytes(_BYTE_OF[sign] for sign in token)


def _shown(content: bytes) -> str:
    """Distinct for distinct bytes: what is no UTF-8 is escaped, and so is what a term's name uses itself."""
    text = content.replace(b"\\", b"\\\\").decode("utf-8", errors="backslashreplace")
    return text.replace(_GLUE, "\\xb7")
