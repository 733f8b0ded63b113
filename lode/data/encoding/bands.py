"""Recordings to a few numbers for baselines: energies in bands over parts of the sounding stretch. numpy alone.

Shape letters: L samples, T frames, F frequencies, M bands.
"""

from __future__ import annotations

import numpy as np

NUM_BANDS, NUM_PARTS = 16, 5
NUM_FIGURES = NUM_BANDS * (NUM_PARTS + 1) + 1
_FRAME_S, _HOP_S = 0.032, 0.016
_QUIET = 0.02
_LEAST = 1e-8


def names() -> list[str]:
    """What the figures of `figures` are, in order."""
    parts = [f"part{part + 1}" for part in range(NUM_PARTS)] + ["spread"]
    return [f"{part}.band{band + 1}" for part in parts for band in range(NUM_BANDS)] + ["seconds"]


def figures(sound_L: np.ndarray, rate: int) -> np.ndarray:
    """float32 (NUM_FIGURES,): mean log10 energy of each band in five equal parts, its spread over all, and the sounding seconds.

    The bands are equally wide on the mel scale (HTK). The stretch is that from the first to the last sample above 2 % of the peak.
    """
    sound_L = sound_L.astype(np.float64) / 32768.0
    loud = np.flatnonzero(np.abs(sound_L) >= _QUIET * np.abs(sound_L).max(initial=0.0))
    sound_L = sound_L[loud[0] : loud[-1] + 1] if len(loud) else sound_L
    size, hop = max(8, round(rate * _FRAME_S)), max(1, round(rate * _HOP_S))
    padded_L = np.pad(sound_L, (0, max(0, size + (NUM_PARTS - 1) * hop - len(sound_L))))
    frames_TL = np.lib.stride_tricks.sliding_window_view(padded_L, size)[::hop] * np.hanning(size)
    power_TF = np.abs(np.fft.rfft(frames_TL, axis=1)) ** 2
    energy_TM = np.log10(np.add.reduceat(power_TF, _starts(power_TF.shape[1], rate), axis=1) / size + _LEAST)
    parts = [part.mean(axis=0) for part in np.array_split(energy_TM, NUM_PARTS)]
    return np.concatenate([*parts, energy_TM.std(axis=0), [len(sound_L) / rate]]).astype(np.float32)


def _starts(num_frequencies: int, rate: int) -> np.ndarray:
    """Where each band begins among the frequencies, int64 (M,), each at least one after the one before."""
    top = 2595.0 * np.log10(1.0 + rate / 2 / 700.0)
    hz = 700.0 * (10.0 ** (np.linspace(0.0, top, NUM_BANDS + 1)[:-1] / 2595.0) - 1.0)
    place = np.floor(hz / (rate / 2) * num_frequencies).astype(np.int64)
    return np.minimum(
        np.maximum.accumulate(np.maximum(place, np.arange(NUM_BANDS))), num_frequencies - NUM_BANDS + np.arange(NUM_BANDS)
    )
