"""Put words of like meaning in each other's place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import torch

from lode.core.errors import ModelError
from lode.core.types import FilePath, Range, TensorSpec
from lode.model.blocks import is_tokens
from lode.model.modules import Augment

_MOST, _WIDEST = 16, 48
"""Words for one word at most, and places for them: 48 has most counts up to 16 as divisors, all others are even to within a place."""


class Synonyms(Augment):
    """Replaces random words by others of the same line of a list (Zhang 2015, arXiv 1509.01626; Wei 2019, EDA, arXiv 1901.11196).

    Args:
        path: A text file in UTF-8: words that may stand for each other on one line, with commas or tabs between them; # begins a remark.
        share: Share of the words of the list that is replaced.
    """

    reads = ("text", "set")
    ahead: ClassVar[bool] = True
    wants_words: ClassVar[bool] = True
    others: torch.Tensor

    def __init__(self, spec: TensorSpec, *, path: FilePath, share: Annotated[float, Range(0, 1)] = 0.2) -> None:
        super().__init__()
        self.path, self.share = path, share
        # Of each code: words to put in its place, over and over until the row is full, and itself
        self.register_buffer("others", torch.zeros(spec.cardinality or 1, 2, dtype=torch.int32), persistent=False)

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_tokens(spec)

    def read_words(self, words: Sequence[str]) -> None:
        code_of = {word: code for code, word in enumerate(words) if word}
        others: dict[int, dict[int, None]] = {}
        for group in self._groups():
            codes = [code_of[word] for word in group if word in code_of]
            for code in codes:
                others.setdefault(code, {}).update(dict.fromkeys(other for other in codes if other != code))
        found = {code: list(alike)[:_MOST] for code, alike in others.items() if alike}
        if not found:
            raise ModelError(
                f"augment synonyms: no line of {self.path} holds two words that the training texts have, at least one is needed. "
                "Is the list in the language of the texts, and are these cut into words (tokens: word)?"
            )
        size = min(math.lcm(*map(len, found.values())), _WIDEST)
        self.others = torch.arange(len(self.others), dtype=torch.int32)[:, None].repeat(1, size + 1)
        for code, alike in found.items():
            self.others[code, :size] = torch.tensor([alike[number % len(alike)] for number in range(size)])

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if not self.share:
            return x.clone()
        size = self.others.shape[1] - 1
        # One draw says both whether a word is replaced and by which: from `share` on the word stays itself
        which_BT = torch.rand(x.shape, generator=generator, device=x.device).mul_(size / self.share).clamp_(max=size).to(x.dtype)
        place_BT = which_BT.add_(x, alpha=size + 1)
        return self.others.view(-1).index_select(0, place_BT.view(-1)).view_as(x).to(x.dtype)

    def _groups(self) -> list[list[str]]:
        try:
            lines = Path(self.path).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(
                f"augment synonyms: {self.path} cannot be read ({error}), allowed is a text file in UTF-8. Check path."
            ) from error
        rows = (line.partition("#")[0].replace("\t", ",").split(",") for line in lines)
        return [[word.strip().lower() for word in row if word.strip()] for row in rows]
