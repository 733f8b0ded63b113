"""The bytes of every token: what log-probabilities report, and what grammars are held against."""

from __future__ import annotations

import codecs
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lode.data.corpus.contracts import Tokenizer

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_BLANK = "\u2581"
"""How SentencePiece writes a blank."""


class Pieces:
    """The tokens of one tokenizer. all: the bytes of each, by id; special: ids of those that are no text (their bytes are their marks)."""

    def __init__(self, tokenizer: Tokenizer):
        with tempfile.TemporaryDirectory(prefix="lode-tokenizer-") as folder:
            tokenizer.save(Path(folder))
            record = json.loads((Path(folder) / "tokenizer.json").read_text("utf-8"))
        self.all = [b""] * tokenizer.size
        read = _reader(record.get("decoder"))
        for piece, token in _vocabulary(record["model"]).items():
            if 0 <= token < tokenizer.size:
                self.all[token] = read(piece)
        for token in record.get("added_tokens") or ():
            if 0 <= token["id"] < tokenizer.size:
                self.all[token["id"]] = token["content"].encode()
        self.special = sorted(tokenizer.special.values())

    def text_of(self, token: int) -> str:
        """A token as text: bytes that are no UTF-8 by themselves become U+FFFD."""
        return self.bytes_of(token).decode("utf-8", "replace")

    def bytes_of(self, token: int) -> bytes:
        """What a token writes; nothing for an id that no token has (weights are padded)."""
        return self.all[token] if token < len(self.all) else b""


class Ruler:
    """Where each token of an answer begins in its text, in characters; one character may take several tokens."""

    def __init__(self, pieces: Pieces):
        self._pieces, self._length = pieces, 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def before(self, token: int) -> int:
        """The characters before this token, which comes next."""
        begin = self._length
        if token not in self._pieces.special:  # which are no text
            self._length += len(self._decoder.decode(self._pieces.bytes_of(token)))
        return begin


def _vocabulary(model: Mapping[str, Any]) -> dict[str, int]:
    """Piece -> id, of any model of the `tokenizers` library."""
    vocabulary = model.get("vocab") or {}
    if isinstance(vocabulary, list):
        return {item[0]: token for token, item in enumerate(vocabulary)}
    return dict(vocabulary)


def _reader(decoder: Mapping[str, Any] | None) -> Any:
    """How this tokenizer's pieces stand for bytes."""
    kinds = _kinds(decoder)
    if "ByteLevel" in kinds:
        table = {character: byte for byte, character in _byte_characters().items()}
        return lambda piece: bytes(table[character] for character in piece) if set(piece) <= table.keys() else piece.encode()
    if "ByteFallback" in kinds or "Metaspace" in kinds:
        return _from_sentencepiece
    return lambda piece: piece.encode()


def _kinds(decoder: Mapping[str, Any] | None) -> set[str]:
    if not decoder:
        return set()
    inner = [kind for part in decoder.get("decoders") or () for kind in _kinds(part)]
    return {decoder["type"], *inner}


def _from_sentencepiece(piece: str) -> bytes:
    match = _BYTE.fullmatch(piece)
    return bytes([int(match[1], 16)]) if match else piece.replace(_BLANK, " ").encode()


def _byte_characters() -> dict[int, str]:
    """The character that stands for each byte in byte-level vocabularies (GPT-2, encoder.py, `bytes_to_unicode`)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + number) for number, byte in enumerate(rest)}
