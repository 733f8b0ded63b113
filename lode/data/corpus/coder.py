"""A tokenizer.json at work: cutting, joining, and what it says of itself. Imported by tokenizers that need the package `tokenizers`."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as Engine

from lode.core.errors import ArtifactError
from lode.data.corpus import folder as files
from lode.data.corpus import spans, words
from lode.data.corpus.folder import Saved

_MODELS = ("BPE", "WordLevel", "WordPiece", "Unigram")
_CALL_CHARS = 1 << 20
"""So many characters are cut at once: the library holds some hundred bytes for each token."""
_LONGEST_CHARS = 1 << 21
_PREFIXES = ('"Metaspace"', '"Prepend"', '"add_prefix_space": true', '"add_prefix_space":true')


class Coder:
    """Cuts texts as a tokenizer.json says. Special tokens in texts stay text."""

    def __init__(self, saved: Saved, path: Path) -> None:
        model = saved.record["model"]
        if model.get("type", "BPE") not in _MODELS or not model.get("vocab"):
            found = f"a model {model.get('type')!r} of {len(model.get('vocab') or ())} tokens"
            raise ArtifactError(
                f"{path}: holds {found}, allowed: {', '.join(_MODELS)} with a vocabulary. Take the file from where it came from again."
            )
        self.special = saved.special
        self._text = json.dumps({**saved.record, "truncation": None, "padding": None}, ensure_ascii=False)
        self._engine = Engine.from_str(self._text)
        self._engine.encode_special_tokens = True
        self._puts_blank = any(sign in self._text for sign in _PREFIXES)
        self.size = max(self._engine.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self._is_special = np.zeros(self.size, np.bool_)
        self._is_special[[at for mark, at in self.special.items() if mark != saved.mark("unk_token")]] = True

    @functools.cached_property
    def _reading(self) -> Engine:
        """The same, reading special tokens as such."""
        return Engine.from_str(self._text)

    @property
    def begin(self) -> int | None:
        """What the tokenizer puts before every text."""
        ids = self._reading.encode("").ids
        return ids[0] if ids and ids[0] in self.special.values() else None

    def encode(self, texts: Sequence[str], inside: bool) -> list[np.ndarray]:
        """int32 (T,) each."""
        if any(len(text) > _LONGEST_CHARS for text in texts):
            return [self._in_parts(text, inside) for text in texts]
        made: list[np.ndarray] = []
        for call in _calls([words.well_formed(text) for text in texts]):
            found = self._after_mark(call) if inside and self._puts_blank else self._plain(call)
            made += [self._broken_up(text) if self._is_special[ids].any() else ids for text, ids in zip(call, found, strict=True)]
        return made

    def _in_parts(self, text: str, inside: bool) -> np.ndarray:
        """A text of any length: a very long one in parts that end where lines end, so that memory stays in bounds."""
        found = [self.encode([part], inside or at > 0)[0] for at, part in enumerate(_parts(text))]
        return np.concatenate(found) if found else np.empty(0, np.int32)

    def _plain(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array(one.ids, np.int32) for one in self._engine.encode_batch_fast(texts, add_special_tokens=False)]

    def _after_mark(self, texts: Sequence[str]) -> list[np.ndarray]:
        """As they are cut behind a special token."""
        mark = next(iter(self.special), "")
        found = self._reading.encode_batch_fast([mark + text for text in texts], add_special_tokens=False)
        return [np.array(one.ids[bool(mark) :], np.int32) for one in found]

    def _broken_up(self, text: str) -> np.ndarray:
        """A text that writes special tokens out, cut within each of them: some models have them among their words."""
        pattern = spans.ahead(tuple(self.special))
        assert pattern is not None, "a special token was found"
        pieces = self._plain(pattern.sub(rf"\1{spans.ESCAPE}", text).split(spans.ESCAPE))
        found = np.concatenate(pieces)
        return found[~self._is_special[found]]

    def decode(self, tokens: Sequence[int] | np.ndarray, special: bool) -> str:
        """Text of tokens."""
        return self._engine.decode([int(token) for token in tokens], skip_special_tokens=not special)


def _parts(text: str) -> Iterator[str]:
    """A text in parts of at most `_LONGEST_CHARS`, cut where the last line begins, else at the last blank, else anywhere."""
    start = 0
    while len(text) - start > _LONGEST_CHARS:
        end = start + _LONGEST_CHARS
        cut = text.rfind("\n", start, end) + 1
        while cut > start and text[cut].isspace():
            cut = text.rfind("\n", start, cut - 1) + 1
        cut = cut if cut > start else max(text.rfind(" ", start, end), start)
        cut = cut if cut > start else end
        yield text[start:cut]
        start = cut
    yield text[start:]


def _calls(texts: Sequence[str]) -> Iterator[list[str]]:
    """Texts in calls of some million characters; a longer one is a call of its own."""
    call: list[str] = []
    length = 0
    for text in texts:
        if call and length + len(text) > _CALL_CHARS:
            yield call
            call, length = [], 0
        call.append(text)
        length += len(text)
    if call:
        yield call


def first(saved: Saved, *roles: str) -> int | None:
    """The id of the first of these roles ("eos_token") that the folder names."""
    found = (saved.special.get(mark) for mark in map(saved.mark, roles) if mark is not None)
    return next((one for one in found if one is not None), None)


def read(folder: Path) -> tuple[Saved, Coder]:
    """A folder's files, and what works by them. Errors: ArtifactError."""
    saved = files.read(folder)
    return saved, Coder(saved, folder / files.TOKENIZER)
