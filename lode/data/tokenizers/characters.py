"""One token for each character: the smallest vocabulary, and no packages. Contract: lode/data/corpus/contracts.py."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np

from lode.core.errors import ArtifactError, DataError
from lode.core.types import Range
from lode.data.corpus import folder as files
from lode.data.corpus import template, words
from lode.data.corpus.contracts import MARKS, Tokenizer
from lode.data.place import Place

_UNKNOWN = "<|unk|>"
_CODE_POINTS = 0x110000
_JOIN_CHARS = 1 << 22


class Characters(Tokenizer):
    """A token for each character of the training texts, in the order of Unicode; one for all that they do not have.

    Args:
        min_frequency: characters that stand in the training texts fewer times are unknown.
        vocabulary: so many tokens at most, special ones included: the most frequent characters stay.
    """

    def __init__(
        self,
        place: Place,
        *,
        min_frequency: Annotated[int, Range(1)] = 1,
        vocabulary: Annotated[int, Range(16, 1_114_112)] = 65_536,
    ) -> None:
        self.min_frequency, self.vocabulary = min_frequency, vocabulary
        self.template = template.CHATML
        self._know("")

    def _know(self, characters: str) -> None:
        """Take over an alphabet: ids 0 .. n - 1, then the special tokens."""
        self._characters = characters
        named = (*MARKS, _UNKNOWN)
        self.special = {mark: len(characters) + at for at, mark in enumerate(named)}
        self.roles = {"eos_token": MARKS[0], "pad_token": MARKS[3], "unk_token": _UNKNOWN}
        self.size = len(characters) + len(named)
        self.end, self.begin, self.unknown = self.special[MARKS[0]], None, self.special[_UNKNOWN]
        self.stops = (self.end, self.special[MARKS[2]])
        self._ids = np.full(_CODE_POINTS, self.unknown, np.int32)
        self._ids[_points(characters)] = np.arange(len(characters), dtype=np.int32)
        self._written = np.array([*characters, *[""] * len(MARKS), "\ufffd"], dtype=object)

    def fit(self, texts: Iterable[str]) -> None:
        """Errors: DataError where there is no text."""
        counts = np.zeros(_CODE_POINTS, np.int64)
        for text in _joined(texts):
            counts += np.bincount(_points(text), minlength=_CODE_POINTS)
        found = np.flatnonzero(counts >= self.min_frequency)
        room = self.vocabulary - len(MARKS) - 1
        if len(found) > room:
            found = np.sort(found[np.argsort(-counts[found], kind="stable")[:room]])
        if not len(found):
            raise DataError("model.tokenizer characters: the training texts are empty, so there is nothing to learn from.")
        self._know("".join(map(chr, found.tolist())))

    def encode(self, texts: Sequence[str], *, inside: bool = False) -> list[np.ndarray]:
        return [self._ids[_points(words.well_formed(text))] for text in texts]

    def decode(self, tokens: Sequence[int] | np.ndarray, *, special: bool = False) -> str:
        written = self._written
        if special:
            written = written.copy()
            written[list(self.special.values())] = list(self.special)
        ids = np.asarray(tokens, np.int64)
        return "".join(written[ids[ids < self.size]].tolist())

    def save(self, folder: Path) -> None:
        known = {character: at for at, character in enumerate(self._characters)}
        record = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [files.added(mark, at) for mark, at in self.special.items()],
            "normalizer": None,
            "pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False},
            "post_processor": None,
            "decoder": {"type": "Fuse"},
            "model": {"type": "WordLevel", "vocab": {**known, **self.special}, "unk_token": _UNKNOWN},
        }
        files.write(folder, json.dumps(record, ensure_ascii=False), "characters", self.template, _UNKNOWN)

    def load(self, folder: Path) -> None:
        saved = files.read(folder)
        known = saved.record["model"].get("vocab")
        single = {word: at for word, at in known.items() if word not in saved.special} if isinstance(known, dict) else {}
        alphabet = "".join(sorted(single, key=lambda word: int(single[word])))
        if len(alphabet) != len(single) or sorted(single.values()) != list(range(len(single))):
            raise ArtifactError(
                f"{folder / files.TOKENIZER}: is no tokenizer of characters. Take the file from the artifact again."
            )
        self._know(alphabet)
        self.template = saved.template


def _points(text: str) -> np.ndarray:
    """Code points, uint32 (T,)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _joined(texts: Iterable[str]) -> Iterable[str]:
    """Texts in runs of some millions of characters: counting has a fixed price."""
    run: list[str] = []
    length = 0
    for text in texts:
        run.append(words.well_formed(text))
        length += len(text)
        if length >= _JOIN_CHARS:
            yield "".join(run)
            run, length = [], 0
    yield "".join(run)
