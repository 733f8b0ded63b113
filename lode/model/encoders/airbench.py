"""Small pictures through a short, wide network that learns fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import Standardize, is_image
from lode.model.modules import Encoder

_PATCH = 2
_EPSILON = 5e-4
_SAMPLE_PIXELS = 1_000_000


class Airbench(Encoder):
    """A fixed whitening of 2 x 2 patches, then stages of convolution, pooling, norm, gelu, convolution, norm, gelu; largest over places.

    Jordan 2024, arXiv 2404.00498, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU". The stem's filters are the principal directions of
    the training pictures' patches (Page 2019), so that the network need not learn them. For pictures of 16 to 64 pixels; the cost grows
    with the number of pixels.

    Args:
        widths: Channels of each stage; each stage halves the size.
        scale: Factor of the result: the smaller, the softer the first predictions of the head behind it.
        shift_rate: How much faster than all else the offsets of the norms learn; 64 goes with sgd, 1 with rules that scale gradients.
        average_flips: Outside training, average the vectors of a picture and its mirror image: better, at twice the cost.
        dropout: Share of the result set to 0 in training.
    """

    reads = ("image",)
    training_defaults: ClassVar[dict[str, Any]] = {
        "optimizer": "sgd",
        "learning_rate": 0.75,
        "momentum": 0.85,
        "weight_decay": 0.0013,
        "schedule": "linear",
        "warmup": 0.23,
        "batch": 512,
    }

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        widths: list[Annotated[int, Range(1)]] = (64, 256, 256),  # type: ignore[assignment]
        scale: Annotated[float, Range(0, open_low=True)] = 0.111,
        shift_rate: Annotated[float, Range(0, open_low=True)] = 64.0,
        average_flips: bool = False,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.0,
    ) -> None:
        super().__init__()
        channels = specs[0].shape[2]
        self.standardize = Standardize(specs[0])
        patch = channels * _PATCH * _PATCH
        basis = torch.eye(patch).view(patch, channels, _PATCH, _PATCH)
        # A buffer, because it is learnt from pictures once and never by gradients; each direction occurs with both signs
        self.register_buffer("whitening", torch.cat((basis, -basis)))
        self.shift = nn.Parameter(torch.zeros(2 * patch))
        sizes = [2 * patch, *widths]
        self.stages = nn.ModuleList(_Stage(low, high) for low, high in zip(sizes, widths, strict=False))
        for name, parameter in self.named_parameters():
            if name.endswith(("shift", "bias")):
                parameter.rate_factor = shift_rate  # type: ignore[attr-defined]
        self.scale = scale
        self.average_flips = average_flips
        self.dropout = dropout
        self.width = sizes[-1]
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_image(spec) and min(spec.shape[:2]) >= 8

    @torch.no_grad()
    def start_from(self, inputs: Sequence[torch.Tensor]) -> None:
        """Principal directions of all patches, each scaled to variance 1; in float64, so that the order of the sums does not matter."""
        x = inputs[0]
        few = x[:: -(-x.shape[0] * x.shape[1] * x.shape[2] // _SAMPLE_PIXELS)]
        x_BCHW = self.standardize(few).permute(0, 3, 1, 2).double()
        channels = x_BCHW.shape[1]
        patches = x_BCHW.unfold(2, _PATCH, 1).unfold(3, _PATCH, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, channels * _PATCH**2)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        basis = (vectors / (values.clamp_min(0.0) + _EPSILON).sqrt()).T.flip(0).reshape(-1, channels, _PATCH, _PATCH)
        self.get_buffer("whitening").copy_(torch.cat((basis, -basis)))

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        # (B, H, W, C) in memory is what torch calls channels_last, so that this is free
        x_BCHW = self.standardize(inputs[0]).permute(0, 3, 1, 2)
        h_BD = self._encode(x_BCHW)
        if self.average_flips and not self.training:
            h_BD = (h_BD + self._encode(x_BCHW.flip(3))) / 2
        return functional.dropout(h_BD, self.dropout) if self.dropout and self.training else h_BD

    def _encode(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        h_BCHW = functional.gelu(functional.conv2d(x_BCHW, self.get_buffer("whitening"), self.shift))
        for stage in self.stages:
            h_BCHW = stage(h_BCHW)
        return h_BCHW.amax(dim=(2, 3)) * self.scale


class _Stage(nn.Module):
    """(B, C_in, H, W) -> (B, C, H/2, W/2)."""

    def __init__(self, size_in: int, size: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(size_in, size, 3, 1, 1, bias=False)
        self.second = nn.Conv2d(size, size, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList((_norm(size), _norm(size)))
        for convolution in (self.first, self.second):
            # Starts by passing its input on, as far as there are channels for it
            nn.init.dirac_(convolution.weight.data[: convolution.in_channels])

    def forward(self, h_BCHW: torch.Tensor) -> torch.Tensor:
        h_BCHW = self.first(h_BCHW)
        if min(h_BCHW.shape[2:]) > 1:
            h_BCHW = functional.max_pool2d(h_BCHW, 2)
        h_BCHW = functional.gelu(self.norms[0](h_BCHW))
        return functional.gelu(self.norms[1](self.second(h_BCHW)))


def _norm(size: int) -> nn.BatchNorm2d:
    """Batch norm that learns an offset and no factor, and forgets old batches fast: runs are short.

    torch's own class, because several processes put their shared one in its place.
    """
    norm = nn.BatchNorm2d(size, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm
