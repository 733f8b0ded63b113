"""One token for each byte of UTF-8: writes everything, learns nothing, needs no packages. Contract: lode/data/corpus/contracts.py."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lode.data.corpus import folder as files
from lode.data.corpus import template, words
from lode.data.corpus.contracts import MARKS, Tokenizer
from lode.data.place import Place

_BYTES = 256


class Bytes(Tokenizer):
    """A token for each byte (ids 0 to 255), then the special tokens. Nothing is unknown to it, in no language."""

    def __init__(self, place: Place) -> None:
        self.special = {mark: _BYTES + at for at, mark in enumerate(MARKS)}
        self.roles = {"eos_token": MARKS[0], "pad_token": MARKS[3]}
        self.size = _BYTES + len(MARKS)
        self.end, self.begin, self.unknown = self.special[MARKS[0]], None, None
        self.stops = (self.special[MARKS[0]], self.special[MARKS[2]])
        self.template = template.CHATML

    def fit(self, texts: Iterable[str]) -> None:
        """Nothing: bytes are bytes."""

    def encode(self, texts: Sequence[str], *, inside: bool = False) -> list[np.ndarray]:
        return [np.frombuffer(words.well_formed(text).encode(), np.uint8).astype(np.int32) for text in texts]

    def decode(self, tokens: Sequence[int] | np.ndarray, *, special: bool = False) -> str:
        ids = np.asarray(tokens, np.int64)
        ids = ids[ids < self.size]
        if not special or not (ids >= _BYTES).any():
            return ids[ids < _BYTES].astype(np.uint8).tobytes().decode("utf-8", "replace")
        marks = [mark.encode() for mark in self.special]
        return b"".join(bytes([token]) if token < _BYTES else marks[token - _BYTES] for token in ids.tolist()).decode(
            "utf-8", "replace"
        )

    def save(self, folder: Path) -> None:
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        record = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [files.added(mark, at) for mark, at in self.special.items()],
            "normalizer": None,
            "pre_tokenizer": level,
            "post_processor": None,
            "decoder": level,
            "model": {"type": "BPE", "vocab": {name: at for at, name in enumerate(_names())}, "merges": []},
        }
        files.write(folder, json.dumps(record, ensure_ascii=False), "bytes", self.template)

    def load(self, folder: Path) -> None:
        self.template = files.read(folder).template


def _names() -> list[str]:
    """The character that stands for each byte in tokenizer.json (GPT-2's table): bytes that print are themselves, others come behind."""
    prints = [*range(ord("!"), ord("~") + 1), *range(ord("\xa1"), ord("\xac") + 1), *range(ord("\xae"), ord("\xff") + 1)]
    others = [byte for byte in range(_BYTES) if byte not in prints]
    named = {byte: chr(byte) for byte in prints} | {byte: chr(_BYTES + at) for at, byte in enumerate(others)}
    return [named[byte] for byte in range(_BYTES)]
