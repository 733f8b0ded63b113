"""Weights laid out once as the processor's products read them: decoding is bound by how fast weights come in.

oneDNN lays every weight out anew for every product unless it lies in blocks already. One pass over the products of a decoder of 39 M
weights, one thread (benchmarks/lm_serve.py's shape), milliseconds plain and packed: bfloat16 1 row 7.2 and 3.5, 8 rows 8.8 and 5.2;
float32 1 row 13.3 and 6.3, 32 rows 54 and 20, 256 rows 287 and 115.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from lode.model.language import adapters
from lode.model.language.decoder import Decoder
from lode.model.language.products import Linear

_LEAST_NUMBERS = {torch.bfloat16: 1 << 14, torch.float32: 1 << 17}
"""Weights from this size on are packed; for smaller ones torch's own way begins sooner (128 x 128, 1 row: 2.7 us, packed 11 us)."""
_ROWS = 256
"""What the layout is made for. It is as fast for one row; one made for one row is slower for many."""


class PackedLinear(nn.Module):
    """A linear layer for inference on processors. It packs its weight at the first product and lets go of the plain one then.

    Args:
        layer: What it replaces; or another module with `weight` (Y, X) and perhaps `bias`.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        weight, bias = layer.weight, getattr(layer, "bias", None)
        assert isinstance(weight, torch.Tensor)
        self.out_features, self.in_features = weight.shape
        # No parameters: nobody is to train, move or save them
        self._weight = weight.detach()
        self.bias = None if bias is None else bias.detach()
        self._is_packed = False

    @property
    def weight(self) -> torch.Tensor:
        """(Y, X), as it was."""
        return self._weight.to_dense() if self._is_packed else self._weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self._is_packed:
            self._weight, self._is_packed = torch.ops.mkldnn._reorder_linear_weight(self._weight.contiguous(), _ROWS), True
        made: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self.bias, "none", [], "")
        return made


def packed(decoder: Decoder) -> Decoder:
    """A decoder of the same weights whose large products are packed, on a processor; elsewhere and for other types the decoder itself.

    Everything but the packed weights is shared with `decoder`, which stays as it is.
    """
    weight = decoder.embed.weight
    least = _LEAST_NUMBERS.get(weight.dtype)
    if weight.device.type != "cpu" or least is None or not torch.backends.mkldnn.is_available():
        return decoder
    shared = {id(tensor): tensor for tensor in (*decoder.parameters(), *decoder.buffers())}
    made = copy.deepcopy(decoder, shared)
    for name, layer in adapters.layers(made).items():
        if _suits(layer, least, weight.dtype):
            adapters.put(made, name, PackedLinear(layer))
    head = made.embed if made.unembed is None else made.unembed
    if _suits(head, least, weight.dtype):
        made.unembed = PackedLinear(head)  # type: ignore[assignment]
    return made


def _suits(layer: nn.Module, least: int, dtype: torch.dtype) -> bool:
    """Whether it is a plain layer (no adapter, no int8, not divided) of floats, and large enough."""
    if type(layer) not in (nn.Linear, Linear, nn.Embedding):
        return False
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return weight.dtype == dtype and weight.numel() >= least and not hasattr(weight, "full_tensor")
