"""Recordings through a log-mel spectrogram and self-attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import Attention, is_waveform
from lode.model.mel import LogMel, masked
from lode.model.modules import Encoder


class MelTransformer(Encoder):
    """Log-mel spectrogram, two convolutions over time (the second skips every other frame), self-attention blocks, mean over time.

    The stem is that of Whisper (Radford 2022, arXiv 2212.04356), attention on spectrograms alone that of AST (Gong 2021, 2104.01778).

    Args:
        width: Width of the frames' vectors, and of the result; a multiple of heads.
        depth: Number of blocks.
        heads: Attention heads of each block.
        dropout: Share of a block's outputs set to 0 in training.
        mels: Mel bands of the spectrogram.
        window_ms: Length of a frame, in milliseconds.
        hop_ms: Time between two frames, in milliseconds.
        mel_scale: Formula of the mel scale.
        normalize: recording makes every recording equally loud and spread; none keeps how loud it is.
        mask_time: SpecAugment in training: the longest stretch of frames that is hidden, as a share of all; two are drawn.
        mask_bands: SpecAugment in training: the longest stretch of bands that is hidden, as a share of all; two are drawn.
    """

    reads = ("audio",)
    fits = (("width", "multiple of", "heads"), ("hop_ms", "at most", "window_ms"))
    gives_steps: ClassVar[bool] = True
    training_defaults: ClassVar[dict[str, Any]] = {"learning_rate": 5e-4}

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        width: Annotated[int, Range(1)] = 128,
        depth: Annotated[int, Range(1, search=(1, 6))] = 3,
        heads: Annotated[int, Range(1)] = 4,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.1,
        mels: Annotated[int, Range(4, 512)] = 40,
        window_ms: Annotated[float, Range(1, 1000)] = 32.0,
        hop_ms: Annotated[float, Range(0.5, 1000)] = 16.0,
        mel_scale: Literal["htk", "slaney"] = "htk",
        normalize: Literal["recording", "none"] = "recording",
        mask_time: Annotated[float, Range(0, 0.5)] = 0.1,
        mask_bands: Annotated[float, Range(0, 0.5)] = 0.1,
    ) -> None:
        super().__init__()
        self.mel = LogMel(
            specs[0], "mel_transformer", mels=mels, window_ms=window_ms, hop_ms=hop_ms, mel_scale=mel_scale, normalize=normalize
        )
        self.near = nn.Conv1d(mels, width, 3, padding=1)
        self.skip = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.position_TD = nn.Parameter(torch.randn((self.mel.frames + 1) // 2, width) * 0.02)
        self.blocks = nn.ModuleList(Attention(width, heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.mask_time, self.mask_bands, self.dropout = mask_time, mask_bands, dropout
        self.width = width

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_waveform(spec)

    def steps(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """(h_BTD, keep_BT): a vector for every second frame; all of them are real."""
        h_BMT = self.mel(inputs[0])
        if self.training:
            h_BMT = masked(h_BMT, self.mask_time, self.mask_bands)
        h_BTD = functional.gelu(self.skip(functional.gelu(self.near(h_BMT)))).transpose(1, 2) + self.position_TD
        if self.dropout and self.training:
            h_BTD = functional.dropout(h_BTD, self.dropout)
        for block in self.blocks:
            h_BTD = block(h_BTD)
        return self.norm(h_BTD), torch.ones(h_BTD.shape[:2], dtype=torch.bool, device=h_BTD.device)

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.steps(inputs)[0].mean(dim=1)
