"""Put words of like meaning in each other's place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import torch

from lode.core.errors import ModelError
from lode.core.types import FilePath, Range, TensorSpec
from lode.model.blocks import is_tokens
from lode.model.modules import Augment

_MOST = 16


class Synonyms(Augment):
    """Replaces random words by others of the same line of a list (Zhang 2015, arXiv 1509.01626; Wei 2019, EDA, arXiv 1901.11196).

    Args:
        path: A text file in UTF-8: words that may stand for each other on one line, with commas or tabs between them; # begins a remark.
        share: Share of the words of the list that is replaced.
    """

    wants_words: ClassVar[bool] = True
    counts: torch.Tensor
    others: torch.Tensor

    def __init__(self, spec: TensorSpec, *, path: FilePath, share: Annotated[float, Range(0, 1)] = 0.2) -> None:
        super().__init__()
        self.path, self.share = path, share
        self.register_buffer("counts", torch.zeros(spec.cardinality or 1, dtype=torch.int64), persistent=False)
        self.register_buffer("others", torch.zeros(spec.cardinality or 1, 1, dtype=torch.int64), persistent=False)

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
        self.counts.zero_()
        self.others = torch.zeros(len(self.counts), max(map(len, found.values())), dtype=torch.int64)
        for code, alike in found.items():
            self.counts[code] = len(alike)
            self.others[code, : len(alike)] = torch.tensor(alike)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        codes_BT = x.long()
        count_BT = self.counts[codes_BT]
        draw_2BT = torch.rand(2, *x.shape, generator=generator, device=x.device)
        which_BT = (draw_2BT[1] * count_BT).long()
        changed_BT = (draw_2BT[0] < self.share) & (count_BT > 0)
        return torch.where(changed_BT, self.others[codes_BT, which_BT].to(x.dtype), x)

    def _groups(self) -> list[list[str]]:
        try:
            lines = Path(self.path).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(
                f"augment synonyms: {self.path} cannot be read ({error}), allowed is a text file in UTF-8. Check path."
            ) from error
        rows = (line.partition("#")[0].replace("\t", ",").split(",") for line in lines)
        return [[word.strip().lower() for word in row if word.strip()] for row in rows]
