"""Recordings through a log-mel spectrogram and convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import nn
from torch.nn import functional

from lode.core.errors import ModelError
from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_waveform
from lode.model.max_pool import pool_relu
from lode.model.mel import LogMel, masked
from lode.model.modules import Encoder


class MelCnn(Encoder):
    """Log-mel spectrogram, then convolution, batch norm, relu and pooling by 2 for each entry of `channels`; then mean and maximum.

    The mean over the bands, then mean plus maximum over the time, as in PANNs (Kong 2020, arXiv 1912.10211).

    Args:
        channels: Output channels of each convolution.
        kernel: Side of the convolutions, in frames and bands.
        mels: Mel bands of the spectrogram.
        window_ms: Length of a frame, in milliseconds.
        hop_ms: Time between two frames, in milliseconds.
        mel_scale: Formula of the mel scale.
        normalize: recording makes every recording equally loud and spread; none keeps how loud it is.
        mask_time: SpecAugment in training: the longest stretch of frames that is hidden, as a share of all; two are drawn.
        mask_bands: SpecAugment in training: the longest stretch of bands that is hidden, as a share of all; two are drawn.
        dropout: Share of outputs set to 0 in training, behind the last convolution.
    """

    reads = ("audio",)
    fits = (("hop_ms", "at most", "window_ms"),)

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        channels: list[Annotated[int, Range(1)]] = (32, 64, 128),  # type: ignore[assignment]
        kernel: Annotated[int, Range(1)] = 3,
        mels: Annotated[int, Range(4, 512)] = 40,
        window_ms: Annotated[float, Range(1, 1000)] = 32.0,
        hop_ms: Annotated[float, Range(0.5, 1000)] = 16.0,
        mel_scale: Literal["htk", "slaney"] = "htk",
        normalize: Literal["recording", "none"] = "recording",
        mask_time: Annotated[float, Range(0, 0.5)] = 0.1,
        mask_bands: Annotated[float, Range(0, 0.5)] = 0.1,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.0,
    ) -> None:
        super().__init__()
        self.mel = LogMel(
            specs[0], "mel_cnn", mels=mels, window_ms=window_ms, hop_ms=hop_ms, mel_scale=mel_scale, normalize=normalize
        )
        if min(self.mel.frames, mels) < 2 ** len(channels):
            raise ModelError(
                f"encoder mel_cnn: {len(channels)} rounds of pooling leave nothing of {mels} bands and {self.mel.frames} frames. "
                "Use fewer channels, a smaller hop_ms, or longer recordings."
            )
        sizes = [1, *channels]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(low, high, kernel, padding="same", bias=False) for low, high in zip(sizes, channels, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(size) for size in channels)
        self.mask_time, self.mask_bands, self.dropout = mask_time, mask_bands, dropout
        self.width = sizes[-1]
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_waveform(spec)

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        h_BMT = self.mel(inputs[0])
        if self.training:
            h_BMT = masked(h_BMT, self.mask_time, self.mask_bands)
        h_BCMT = h_BMT.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            h_BCMT = pool_relu(norm(convolution(h_BCMT)), 2)
        h_BCT = h_BCMT.mean(dim=2)
        h_BC = h_BCT.mean(dim=2) + h_BCT.amax(dim=2)
        return functional.dropout(h_BC, self.dropout) if self.dropout and self.training else h_BC
