"""Texts as a Hugging Face checkpoint wants them cut: its own tokenizer.json, special tokens included.

With lode/data/encoding/byte_pairs.py the only file that imports the package tokenizers. The encoder is lode/model/encoders/pretrained.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
from tokenizers import Tokenizer as Engine

from lode.core.errors import DataError
from lode.data.contracts import State
from lode.data.encoding.terms import Tokens
from lode.data.encoding.tokens import Tokenizer, chunks


class CheckpointTokens(Tokenizer):
    """Learns nothing: code c + 1 is the checkpoint's code c. Longer texts are cut so that their closing special token stays.

    folder: read by `fit` only; afterwards the tokenizer lies in the state.
    """

    def __init__(self, max_chars: int, length: int, folder: str | None) -> None:
        super().__init__(max_chars)
        self.length = length
        self.folder = folder
        self._text = ""
        self._engine: Engine | None = None
        self._names: list[str] = []

    def fit(self, column: pl.Series, size: int) -> int:
        path = Path(self.folder or "") / "tokenizer.json"
        try:
            self._rebuild(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(
                f"text: checkpoint: {path} is not there, allowed is the folder of a Hugging Face checkpoint with its tokenizer.json. "
                "Make one of older files with AutoTokenizer.from_pretrained(folder).save_pretrained(folder)."
            ) from error
        return max((int(self.tokens(chunk).lengths.max(initial=0)) for chunk in chunks(column)), default=0)

    def _rebuild(self, text: str) -> None:
        try:
            record = json.loads(text)
        except ValueError:
            record = {}
        if not isinstance(record, dict) or not record.get("model"):
            raise DataError("text: checkpoint: tokenizer.json holds no tokenizer. Take the file from the checkpoint again.")
        # How long a text may be is the feature's own option, and batches pad
        self._text = json.dumps({**record, "truncation": None, "padding": None}, ensure_ascii=False)
        self._engine = Engine.from_str(self._text)
        self._engine.enable_truncation(self.length)
        codes = self._engine.get_vocab(with_added_tokens=True)
        self._names = [f"#{code}" for code in range(max(codes.values(), default=-1) + 1)]
        for name, code in codes.items():
            self._names[code] = name

    def tokens(self, column: pl.Series) -> Tokens:
        texts = [text or "" for text in column.str.head(self.max_chars).to_list()]
        rows = [found.ids for found in self._engine.encode_batch_fast(texts)] if self._engine else [[] for _ in texts]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        codes = np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=int(lengths.sum()))
        return Tokens(codes + np.int32(1), lengths)

    @property
    def count(self) -> int:
        return len(self._names)

    @property
    def names(self) -> Sequence[str]:
        return self._names

    def text(self, codes: Sequence[int]) -> str:
        return "" if self._engine is None else self._engine.decode([code - 1 for code in codes if code])

    def state(self) -> State:
        return {"tokenizer": self._text}

    def restore(self, state: State) -> None:
        self._rebuild(str(state["tokenizer"]))
