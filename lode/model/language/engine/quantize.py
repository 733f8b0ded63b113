"""Weights as int8: half of bfloat16's memory, a quarter of float32's, with a gate that says what it costs before anybody is served.

Symmetric, one scale for each output (Jacob 2018, arXiv 1712.05877, without activations): w is about scale * q, q from -127 to 127.
Experts of a mixture, embeddings and norms stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from lode.core.errors import ModelError
from lode.model.language.decoder import Decoder
from lode.model.language.engine import scoring
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
    """A copy of a decoder with int8 weights in every linear layer and in the head, tied or not. The decoder itself stays as it is."""
    made = copy.deepcopy(decoder).eval().requires_grad_(False)
    for module in list(made.modules()):
        for name, child in list(module.named_children()):
            # Whatever has an adapter or is sharded is no plain layer: then nothing would be known of its weights
            if type(child) in (nn.Linear, Linear) and name != "router":
                setattr(module, name, Int8Linear(child))
    if made.unembed is None:
        made.unembed = Int8Linear(made.embed)  # type: ignore[assignment]
    return made


@dataclass(frozen=True, slots=True)
class Loss:
    """What int8 cost on some texts. perplexity, perplexity_int8: of all their tokens; rise: the relative difference.

    logit_difference: root mean square over all logits, each row shifted to mean 0; same_token: share of positions where the likeliest token
    is the same.
    """

    tokens: int
    perplexity: float
    perplexity_int8: float
    rise: float
    logit_difference: float
    same_token: float


@torch.inference_mode()
def measure(decoder: Decoder, int8: Decoder, token_lists: Sequence[Sequence[int]]) -> Loss:
    """Compare both on texts that are at hand (validation documents). Texts of one token say nothing and are left out."""
    sums = torch.zeros(5, dtype=torch.float64)
    for tokens in token_lists:
        if len(tokens) < 2:
            continue
        tokens_1T = torch.tensor([list(tokens)], device=decoder.embed.weight.device)
        one_TV, two_TV = (scoring.logits(each, each(tokens_1T)[0, :-1]).float() for each in (decoder, int8))
        losses = [functional.cross_entropy(each, tokens_1T[0, 1:], reduction="sum") for each in (one_TV, two_TV)]
        apart = (one_TV - one_TV.mean(-1, keepdim=True)) - (two_TV - two_TV.mean(-1, keepdim=True))
        same = (one_TV.argmax(-1) == two_TV.argmax(-1)).sum()
        sums += torch.stack([*losses, apart.square().mean(-1).sum(), same, torch.tensor(len(one_TV))]).double().cpu()
    loss, loss_int8, square, same, count = sums.tolist()
    if not count:
        raise ModelError("int8: found no text of two tokens or more to measure on. Give some validation documents.")
    one, two = (float(torch.tensor(each / count).exp()) for each in (loss, loss_int8))
    return Loss(int(count), one, two, two / one - 1.0, (square / count) ** 0.5, same / count)


def gate(decoder: Decoder, token_lists: Sequence[Sequence[int]], *, max_rise: float = 0.01) -> tuple[Decoder, Loss]:
    """The int8 copy and what it costs. Errors: ModelError where perplexity rises by more than `max_rise` (0.01: one percent)."""
    int8 = quantized(decoder)
    loss = measure(decoder, int8, token_lists)
    if not loss.rise <= max_rise:
        raise ModelError(
            f"int8: found a perplexity of {loss.perplexity_int8:.4g} instead of {loss.perplexity:.4g} ({loss.rise:+.2%}), allowed are "
            f"{max_rise:+.2%}. Serve the weights as they are, or allow more."
        )
    return int8, loss
