"""Weights as int8: half of bfloat16's memory, a quarter of float32's. What that costs is measured before anybody is served
(`lode/pipeline/language/narrow.py`).

Symmetric, one scale for each output (Jacob 2018, arXiv 1712.05877, without activations): w is about scale * q, q from -127 to 127.
Experts of a mixture, embeddings and norms stay as they are.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional

from lode.model.language.decoder import Decoder
from lode.model.language.products import Linear

_FEW_ROWS = 16
"""Up to so many rows torch's int8 kernel beats a product with weights that were made bfloat16 again (512 x 512, one thread, microseconds:
1 row 8 and 60, float32 21; 8 rows 32 and 68; 32 rows 124 and 100)."""


_ALIGNED = 64
"""The kernel reads beyond the end of rows and columns that are no multiples of this (torch 2.13: 85 x 32 crashes)."""


class Int8Linear(nn.Module):
    """A linear layer with int8 weights, for inference. Products are in bfloat16: what int8 loses is as much.

    Args:
        layer: What it replaces; or another module with `weight` (Y, X) and perhaps `bias`.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        weight, bias = layer.weight, getattr(layer, "bias", None)
        assert isinstance(weight, torch.Tensor)
        self.out_features, self.in_features = weight.shape
        scale_Y = weight.detach().float().abs().amax(dim=1).clamp(min=1e-12) / 127.0
        quantized_YX = (weight.detach().float() / scale_Y[:, None]).round().clamp(-127, 127).to(torch.int8)
        self.is_aligned = not (self.in_features % _ALIGNED or self.out_features % _ALIGNED)
        self.quantized_YX: torch.Tensor
        self.scale_Y: torch.Tensor
        self.register_buffer("quantized_YX", quantized_YX)
        self.register_buffer("scale_Y", scale_Y.to(torch.bfloat16))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    @property
    def weight(self) -> torch.Tensor:
        """int8 (Y, X): whoever asks what the base's weights are learns that they cannot be compared with others."""
        return self.quantized_YX

    def dequantized(self) -> torch.Tensor:
        """The weights as they count, float32 (Y, X)."""
        return self.quantized_YX.float() * self.scale_Y.float()[:, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x_NX = x.flatten(0, -2).to(torch.bfloat16)
        if len(x_NX) <= _FEW_ROWS and self.is_aligned and x.device.type == "cpu":
            y_NY = torch._weight_int8pack_mm(x_NX, self.quantized_YX, self.scale_Y)
        else:
            y_NY = functional.linear(x_NX, self.quantized_YX.to(torch.bfloat16)) * self.scale_Y
        y = y_NY.to(x.dtype).view(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias


def quantized(decoder: Decoder) -> Decoder:
    """A decoder with int8 weights in every linear layer and in the head, tied or not. The rest is shared with `decoder`, which stays as
    it is.
    """
    shared = {id(tensor): tensor for tensor in (*decoder.parameters(), *decoder.buffers())}
    made = copy.deepcopy(decoder, shared).eval()
    for module in list(made.modules()):
        for name, child in list(module.named_children()):
            # Whatever has an adapter or is sharded is no plain layer: then nothing would be known of its weights
            if type(child) in (nn.Linear, Linear) and name != "router":
                setattr(module, name, Int8Linear(child))
    if made.unembed is None:
        made.unembed = Int8Linear(made.embed)  # type: ignore[assignment]
    return made
