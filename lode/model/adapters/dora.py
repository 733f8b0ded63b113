"""Low-rank adapters of direction, with a magnitude for each output beside them."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from torch import nn

from lode.core.types import Range
from lode.model.language import adapters
from lode.model.language.contracts import Adapter
from lode.model.lora import LoraLinear


class Dora(Adapter):
    """Like lora, with the length of each row of a weight learned apart from its direction (DoRA, Liu 2024, arXiv 2402.09353).

    Mostly a little better than lora at the same rank; a step takes longer, because the rows' lengths are computed anew.

    Args:
        rank: Width of the matrices: more learns more.
        alpha: The adapter counts alpha / rank times.
        dropout: Share of the adapter's inputs set to 0 in training.
        targets: Layers that get one: attention, mlp, or single ones (q, k, v, out, gate, up, down, layers.0.attention.q); left open, all.
        rslora: Whether it counts alpha / sqrt(rank) times instead, which suits large ranks (Kalajdzievski 2023, arXiv 2312.03732).
        merge: Whether the artifact holds the merged model alone; otherwise the adapter lies beside it, in PEFT's format.
    """

    def __init__(
        self,
        *,
        rank: Annotated[int, Range(1)] = 8,
        alpha: Annotated[float, Range(0, open_low=True)] = 16.0,
        dropout: Annotated[float, Range(0, 1, open_high=True)] = 0.0,
        targets: list[str] | None = None,
        rslora: bool = False,
        merge: bool = False,
    ) -> None:
        self.rank, self.alpha, self.dropout = rank, alpha, dropout
        self.targets, self.rslora, self.merge = targets, rslora, merge

    def attach(self, decoder: nn.Module) -> None:
        """Freeze the decoder and put the adapter's weights beside the layers it names, in place. Errors: ModelError."""
        options = {"rank": self.rank, "alpha": self.alpha, "dropout": self.dropout, "rank_stabilized": self.rslora}
        adapters.attach(decoder, self.targets, partial(LoraLinear, **options, decomposed=True))  # type: ignore[arg-type]

    def config(self, base: str) -> dict[str, Any]:
        """The adapter_config.json that `peft` reads, but for the names of the layers. base: what `base_model_name_or_path` says."""
        return {
            "base_model_name_or_path": base,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "use_rslora": self.rslora,
            "use_dora": True,
        }
