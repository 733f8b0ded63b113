"""Recordings to log-mel spectrograms, on the device, and what hides parts of them in training.

The encoders of recordings share it. Shape letters: B batch, L samples, F frequencies of the Fourier transform, M mel bands, T frames.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from lode.core.errors import ModelError
from lode.core.types import TensorSpec
from lode.model.blocks import Standardize

_FLOOR_DB = 80.0
"""What is so much weaker than the loudest cell of a recording counts as silence."""
_LEAST_POWER = 1e-10


def hz_of_mel(mel: torch.Tensor, scale: str) -> torch.Tensor:
    """Frequencies in Hz of places on the mel scale.

    "htk": mel = 2595 log10(1 + f / 700) (The HTK Book, Young 2006, 5.4). "slaney": 3 f / 200 below 1,000 Hz, then
    15 + 27 ln(f / 1000) / ln(6.4) (Slaney, Auditory Toolbox, TR 1998-010).
    """
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return torch.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * torch.exp((mel - 15.0) * math.log(6.4) / 27.0))


def mel_of_hz(hz: float, scale: str) -> float:
    """The inverse of `hz_of_mel` for one frequency."""
    if scale == "htk":
        return 2595.0 * math.log10(1.0 + hz / 700.0)
    return hz * 3.0 / 200.0 if hz < 1000.0 else 15.0 + 27.0 * math.log(hz / 1000.0) / math.log(6.4)


def filterbank(rate: int, num_fft: int, bands: int, scale: str) -> torch.Tensor:
    """float32 (M, F): triangles from 0 Hz to half the rate, equally wide on the mel scale, each of area 1 over its width in Hz.

    Band m rises from edge m to edge m + 1 and falls to edge m + 2; its height is 2 / (edge m + 2 - edge m) (Slaney's normalisation).
    """
    top = mel_of_hz(rate / 2, scale)
    edges = hz_of_mel(torch.linspace(0.0, top, bands + 2, dtype=torch.float64), scale)
    hz_F = torch.linspace(0.0, rate / 2, num_fft // 2 + 1, dtype=torch.float64)
    low_M1, middle_M1, high_M1 = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising_MF, falling_MF = (hz_F - low_M1) / (middle_M1 - low_M1), (high_M1 - hz_F) / (high_M1 - middle_M1)
    return (torch.minimum(rising_MF, falling_MF).clamp_min(0.0) * 2.0 / (high_M1 - low_M1)).float()


class LogMel(nn.Module):
    """(B, L) int16 -> (B, M, T) float32: power in mel bands, in dB, standardised per recording. Holds nothing that is saved.

    word: of the encoder, for errors. normalize: "recording" (the loudest cell is 0 dB, 80 dB below it is silence, then zero mean and
    unit variance over all cells of the recording) or "none" (dB of full scale, by fixed numbers, so that loudness counts).
    Errors: ModelError where the rate of the recordings is not known, or bands are narrower than the transform can tell apart.
    """

    window: torch.Tensor
    filters: torch.Tensor

    def __init__(
        self, spec: TensorSpec, word: str, *, mels: int, window_ms: float, hop_ms: float, mel_scale: str, normalize: str
    ) -> None:
        super().__init__()
        if spec.rate is None:
            raise ModelError(
                f"encoder {word}: found recordings without a rate, allowed are those of the feature `audio`. Use that."
            )
        window, self.hop = max(2, round(spec.rate * window_ms / 1e3)), max(1, round(spec.rate * hop_ms / 1e3))
        self.num_fft = 2 ** math.ceil(math.log2(window))
        filter_MF = filterbank(spec.rate, self.num_fft, mels, mel_scale)
        empty = int((filter_MF.amax(dim=1) == 0).sum())
        if empty:
            raise ModelError(
                f"encoder {word}: {mels} mel bands of {window_ms:g} ms at {spec.rate:,} Hz leave {empty} bands without a frequency. "
                "Use fewer mels, or a longer window_ms."
            )
        self.normalize = normalize
        self.scale = Standardize(spec)
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.register_buffer("filters", filter_MF, persistent=False)
        self.frames = 1 + spec.shape[0] // self.hop

    def forward(self, x_BL: torch.Tensor) -> torch.Tensor:
        # Powers span more than bf16 can hold
        with torch.autocast(x_BL.device.type, enabled=False):
            found_BFT = torch.stft(
                self.scale(x_BL),
                self.num_fft,
                self.hop,
                len(self.window),
                self.window,
                pad_mode="constant",
                return_complex=True,
            )
            power_BFT = found_BFT.real.square() + found_BFT.imag.square()
            return self._in_db(torch.matmul(self.filters, power_BFT))

    def _in_db(self, power_BMT: torch.Tensor) -> torch.Tensor:
        if self.normalize == "none":
            return power_BMT.clamp_min(_LEAST_POWER).log10() * 0.5 + 2.5
        loudest_B11 = power_BMT.amax(dim=(1, 2), keepdim=True).clamp_min(_LEAST_POWER)
        db_BMT = 10.0 * (power_BMT / loudest_B11).clamp_min(10.0 ** (-_FLOOR_DB / 10.0)).log10()
        spread_B11 = db_BMT.std(dim=(1, 2), keepdim=True, correction=0)
        return (db_BMT - db_BMT.mean(dim=(1, 2), keepdim=True)) / (spread_B11 + 1e-3)


def masked(x_BMT: torch.Tensor, time: float, bands: float) -> torch.Tensor:
    """SpecAugment without the warp: two stretches of frames and two of bands become 0 (Park 2019, arXiv 1904.08779).

    time, bands: the longest stretch, as a share of all frames or bands; each is drawn from 0 to that, for every row anew, from torch's
    default generator.
    """
    for axis, share in ((2, time), (1, bands)):
        if share:
            size = x_BMT.shape[axis]
            length_2B1, start_2B1 = torch.rand(2, 2, len(x_BMT), 1, device=x_BMT.device).unbind(0)
            length_2B1 = length_2B1 * share * size
            start_2B1 = start_2B1 * (size - length_2B1)
            place_S = torch.arange(size, device=x_BMT.device)
            hidden_BS = ((place_S >= start_2B1) & (place_S < start_2B1 + length_2B1)).any(dim=0)
            x_BMT = x_BMT * (~hidden_BS).unsqueeze(3 - axis)
    return x_BMT
