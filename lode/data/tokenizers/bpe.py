"""Byte pairs: frequent runs of bytes become tokens. Learned by the package `tokenizers`; contract: lode/data/corpus/contracts.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from tokenizers import Regex, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Engine

from lode.core.errors import DataError, SpecError
from lode.core.types import Range
from lode.data.corpus import folder as files
from lode.data.corpus import template, words
from lode.data.corpus.coder import Coder, first
from lode.data.corpus.contracts import END, MARKS, PAD, Tokenizer
from lode.data.place import Place

_PATTERN = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
"""GPT-4's, with at most two digits together: three would use up a small vocabulary (as nanochat has it)."""
_PIECE_CHARS = 1 << 16
_MARKS = re.compile("|".join(map(re.escape, MARKS)))


class Bpe(Tokenizer):
    """Byte-level byte pair encoding (Sennrich 2016, arXiv 1508.07909; on bytes as in GPT-2): writes everything, in every language.

    Texts are split into words, numbers and signs first, as for GPT-4; no token reaches over such a border. Needs lodeml[bpe].

    Args:
        vocabulary: Number of tokens, special ones included; fewer where the texts have no more pairs.
        min_frequency: Pairs that stand in the training texts fewer times are not joined.
        pattern: A regular expression (Oniguruma's) that finds the pieces instead.
    """

    def __init__(
        self,
        place: Place,
        *,
        vocabulary: Annotated[int, Range(260, 1_000_000)] = 8192,
        min_frequency: Annotated[int, Range(1)] = 2,
        pattern: str | None = None,
    ) -> None:
        self.vocabulary, self.min_frequency, self.pattern = vocabulary, min_frequency, pattern
        self.template = template.CHATML
        self.begin = self.unknown = None
        self.roles = {"eos_token": END, "pad_token": PAD}
        self._engine = Engine(models.BPE())

    def fit(self, texts: Iterable[str]) -> None:
        """Errors: DataError where there is no text, SpecError for a pattern that is none."""
        engine = Engine(models.BPE())
        pieces = pre_tokenizers.Split(Regex(self._checked()), behavior="isolated")
        signs = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        engine.pre_tokenizer = pre_tokenizers.Sequence([pieces, signs])  # type: ignore[assignment]
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocabulary - len(MARKS),
            min_frequency=self.min_frequency,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        counted = _Counted(texts)
        engine.train_from_iterator(counted, trainer)
        if not counted.chars:
            raise DataError("model.tokenizer bpe: the training texts are empty, so there is nothing to learn from.")
        record = json.loads(engine.to_str())
        known = len(record["model"]["vocab"])
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        record |= {"added_tokens": [files.added(mark, known + at) for at, mark in enumerate(MARKS)], "decoder": level}
        self._take(record)

    def _checked(self) -> str:
        if self.pattern is None:
            return _PATTERN
        if not self.pattern:
            raise SpecError("tokenizer bpe.pattern: found nothing, allowed: a regular expression. Leave it out for GPT-4's.")
        return self.pattern

    def _take(self, record: dict[str, object]) -> None:
        self._text = json.dumps(record, ensure_ascii=False)
        saved = files.Saved(json.loads(self._text), {"eos_token": END}, self.template, "bpe", self._text)
        self._coder = Coder(saved, Path(files.TOKENIZER))
        self.special = saved.special
        self.size = self._coder.size
        self.end = first(saved, "eos_token")
        self.stops = tuple(self.special[mark] for mark in (END, MARKS[2]))

    def encode(self, texts: Sequence[str], *, inside: bool = False) -> list[np.ndarray]:
        return self._coder.encode(texts, inside)

    def decode(self, tokens: Sequence[int] | np.ndarray, *, special: bool = False) -> str:
        return self._coder.decode(tokens, special)

    def save(self, folder: Path) -> None:
        files.write(folder, self._text, "bpe", self.template)

    def load(self, folder: Path) -> None:
        saved = files.read(folder)
        self.template = saved.template
        self._take(saved.record)


class _Counted:
    """Texts in pieces of bearable length, and how much there was: the library learns from one piece after the other."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts, self.chars = texts, 0

    def __iter__(self) -> Iterator[str]:
        for text in self.texts:
            self.chars += len(text)
            whole = words.well_formed(text)
            # A special token that a text writes out must not become a token that texts can write.
            for part in _MARKS.split(whole):
                yield from (part[at : at + _PIECE_CHARS] for at in range(0, len(part), _PIECE_CHARS))
