"""Pictures through plain convolutions and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import nn
from torch.nn import functional

from lode.core.errors import ModelError
from lode.core.types import Range, TensorSpec
from lode.model.blocks import Mlp, Standardize, is_image
from lode.model.max_pool import pool_relu
from lode.model.modules import Encoder


class Cnn(Encoder):
    """Convolution, norm, relu and max-pooling, once per entry of `channels`; then flat, then dense layers (LeCun 1998).

    Args:
        channels: Output channels of each convolution.
        kernel: Side of the convolutions, in pixels.
        pool: Side and stride of the max-pooling after each convolution, in pixels; 1 pools nothing.
        padding: same keeps the size in a convolution, valid lets it shrink.
        dense: Width of the dense layer behind the convolutions, or of several; left open, there is none.
        dropout: Share of outputs set to 0 in training, after each dense layer (or after the convolutions where there is none).
        norm: Normalisation after each convolution.
    """

    reads = ("image",)

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        channels: list[Annotated[int, Range(1)]] = (32, 64, 128),  # type: ignore[assignment]
        kernel: Annotated[int, Range(1)] = 3,
        pool: Annotated[int, Range(1)] = 2,
        padding: Literal["same", "valid"] = "same",
        dense: Annotated[int, Range(1)] | list[Annotated[int, Range(1)]] | None = None,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.0,
        norm: Literal["batch", "none"] = "batch",
    ) -> None:
        super().__init__()
        height, width, num_channels = specs[0].shape
        self.scale = Standardize(specs[0])
        self.pool = pool
        sizes = [num_channels, *channels]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(low, high, kernel, padding=padding, bias=norm == "none") for low, high in zip(sizes, channels, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(size) for size in channels if norm == "batch")
        lost = kernel - 1 if padding == "valid" else 0
        for _ in channels:
            height, width = max(height - lost, 0) // pool, max(width - lost, 0) // pool
        if not height * width:
            size = "x".join(map(str, specs[0].shape[:2]))
            raise ModelError(
                f"encoder cnn: {len(channels)} rounds of convolution and pooling leave nothing of a {size} picture. "
                "Use fewer channels, padding: same, or larger pictures."
            )
        dense = [dense] if isinstance(dense, int) else list(dense or ())
        self.dense = Mlp(sizes[-1] * height * width, dense, dropout=dropout, norm="none", activation="relu")
        self.dropout = dropout if not dense else 0.0
        self.width = self.dense.width
        # Weights of before November 2026 expect the order (C, H, W); they lack this entry
        self.is_flat_in_place = True
        self.register_buffer("flat_in_place", torch.ones((), dtype=torch.bool))
        self.register_load_state_dict_pre_hook(_read_order)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_image(spec)

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        # (B, H, W, C) in memory is what torch calls channels_last, so that this is free
        h_BCHW = self.scale(inputs[0]).permute(0, 3, 1, 2)
        norms: Sequence[nn.Module | None] = list(self.norms) or [None] * len(self.convolutions)
        for convolution, norm in zip(self.convolutions, norms, strict=True):
            h_BCHW = convolution(h_BCHW)
            if norm is not None:
                h_BCHW = norm(h_BCHW)
            h_BCHW = pool_relu(h_BCHW, self.pool)
        # In the order of memory (H, W, C), flattening and its gradient copy nothing
        h_BD = self.dense((h_BCHW.permute(0, 2, 3, 1) if self.is_flat_in_place else h_BCHW).flatten(1))
        return functional.dropout(h_BD, self.dropout) if self.dropout and self.training else h_BD


def _read_order(encoder: Cnn, tensors: dict[str, torch.Tensor], prefix: str, *_: object) -> None:
    """Which order the weights behind the convolutions were trained for."""
    found = tensors.setdefault(f"{prefix}flat_in_place", torch.zeros((), dtype=torch.bool))
    encoder.is_flat_in_place = bool(found)
