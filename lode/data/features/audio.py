"""Recordings as 16-bit samples of one rate and one length, decoded by libsndfile. Read lode/data/contracts.py first."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
import polars as pl
import soundfile

from lode.core.types import FlatSpec, Range, TensorSpec
from lode.data import cells
from lode.data.contracts import Feature, State
from lode.data.encoding import bands
from lode.data.formats import decoding

_FULL = 32768.0
_MAX_RATE, _MOST_OWN_RATE, _DEFAULT_RATE = 384_000, 16_000, 16_000
_MIN_RATE = 1_000
_MAX_SECONDS, _MOST_OWN_SECONDS = 3_600.0, 10.0
_MAX_SAMPLES = 1 << 28
_LONG_ENOUGH = 0.99
"""Share of the training recordings that `seconds` holds whole where the file leaves it open."""
_BLOCK_FRAMES = 1 << 16
_CHUNK_ROWS, _CHUNK_BYTES = 1_024, 32 * 2**20
_SAMPLE_ROWS = 2_000
_KEPT_SOUNDS = 64


class Audio(Feature):
    """A recording: WAV, FLAC, OGG, MP3 or AIFF bytes, or the base64 text of those. Channels are averaged, rates made one.

    Longer recordings are cut, shorter ones end in silence. Damaged and silent ones, and those of more than an hour, are rejected. A
    missing one is silence.

    Args:
        rate: samples per second; without it, the most common rate in training, 16,000 at most.
        seconds: length; without it, long enough for 99 % of the training recordings, 10 s at most.
    """

    kind: ClassVar[Literal["binary"]] = "binary"
    expects: ClassVar[str] = "a WAV, FLAC, OGG, MP3 or AIFF recording that is not silent, of at most an hour"

    def __init__(
        self,
        *,
        rate: Annotated[int, Range(1_000, 384_000)] | None = None,
        seconds: Annotated[float, Range(0.01, 600)] | None = None,
    ) -> None:
        self.rate, self.seconds = rate, seconds
        self._rate = rate or _DEFAULT_RATE
        self._length = max(1, round(self._rate * (seconds or 1.0)))
        self._fresh()

    def _fresh(self) -> None:
        """A new memory of the last recordings: a request is looked at by `parse` and again by `transform`, and decoded once."""
        rate, length = self._rate, self._length
        num_kept = max(1, min(_KEPT_SOUNDS, _CHUNK_BYTES // (2 * length)))
        self._decode_kept = lru_cache(maxsize=num_kept)(lambda cell: _samples(cell, rate, length))

    def parse(self, column: pl.Series) -> pl.Series:
        if column.dtype not in (pl.Binary, pl.String, pl.Object):
            return pl.Series(column.name, [None] * len(column), dtype=pl.Binary)
        parts = [self._parsed(chunk) for chunk in _chunks(column)]
        if all(part is None for part in parts):
            return column
        return pl.concat([chunk if part is None else part for part, chunk in zip(parts, _chunks(column), strict=True)])

    def _parsed(self, column: pl.Series) -> pl.Series | None:
        """Binary cells, null where they cannot be decoded; None where the column may stay as it is."""
        found = column.to_list()
        if column.dtype != pl.Binary:
            found = [decoding.from_base64(cell) if isinstance(cell, str) else cell for cell in found]
            found = [cell if isinstance(cell, bytes) else None for cell in found]
        known = [cell for cell in found if cell is not None]
        if len(known) <= cells.FEW_ROWS:
            fine = [self._decode_kept(cell) is not None for cell in known]
        else:
            fine = decoding.each(lambda cell: _read(cell, 0.0) is not None, known)
        verdict = iter(fine)
        kept = [cell if cell is not None and next(verdict) else None for cell in found]
        if column.dtype == pl.Binary and kept.count(None) == column.null_count():
            return None
        return pl.Series(column.name, kept, dtype=pl.Binary)

    def fit(self, column: pl.Series, target: np.ndarray | None = None, folds: np.ndarray | None = None) -> None:
        """Rate and length, from at most 2,000 recordings spread over the column."""
        known = column.drop_nulls()
        sample = known.gather_every(-(-len(known) // _SAMPLE_ROWS) or 1)
        seen = [sound for sound in decoding.each(lambda cell: _read(cell, 0.0), sample.to_list()) if sound is not None]
        rates = Counter(sound.rate for sound in seen)
        common = min(rates, key=lambda rate: (-rates[rate], rate)) if rates else _DEFAULT_RATE
        self._rate = self.rate or min(common, _MOST_OWN_RATE)
        seconds = self.seconds
        if seconds is None:
            lengths = np.sort([sound.seconds for sound in seen]) if seen else np.ones(1)
            seconds = min(float(lengths[math.ceil(_LONG_ENOUGH * len(lengths)) - 1]), _MOST_OWN_SECONDS)
        self._length = max(1, round(self._rate * seconds))
        self._fresh()

    def fit_transform(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> np.ndarray:
        self.fit(column, target, folds)
        return self.transform(column)

    def transform(self, column: pl.Series) -> np.ndarray:
        array = np.zeros((len(column), self._length), dtype=np.int16)
        start = 0
        for chunk in _chunks(column, max(16, min(_CHUNK_ROWS, _CHUNK_BYTES // (2 * self._length)))):
            for place, sound_L in enumerate(self._decoded(chunk.to_list()), start):
                if sound_L is not None:
                    array[place] = sound_L
            start += len(chunk)
        return array

    def _decoded(self, found: Sequence[bytes | None]) -> Iterator[np.ndarray | None]:
        known = [cell for cell in found if cell is not None]
        if len(known) <= cells.FEW_ROWS:
            made = iter([self._decode_kept(cell) for cell in known])
        else:
            made = iter(decoding.each(lambda cell: _samples(cell, self._rate, self._length), known))
        return (None if cell is None else next(made) for cell in found)

    def inverse(self, array: np.ndarray) -> pl.Series:
        """WAV bytes; null for silence, which is what a missing recording becomes."""
        return pl.Series([_wav(sound_L, self._rate) if sound_L.any() else None for sound_L in array], dtype=pl.Binary)

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec("int16", (self._length,), offset=(0.0,), scale=(1.0 / _FULL,), rate=self._rate)

    @property
    def flat_spec(self) -> FlatSpec:
        return FlatSpec(tuple(bands.names()), (0,) * bands.NUM_FIGURES)

    def flat(self, column: pl.Series) -> np.ndarray:
        """Log energies of 16 bands in five parts of the sounding stretch, their spread, and its seconds; NaN where nothing is heard."""
        matrix = np.full((len(column), bands.NUM_FIGURES), np.nan, dtype=np.float32)
        for row, sound_L in enumerate(self.transform(column)):
            if sound_L.any():
                matrix[row] = bands.figures(sound_L, self._rate)
        return matrix

    def unseen(self, column: pl.Series) -> int:
        return 0

    def state(self) -> State:
        return {"rate": self._rate, "length": self._length}

    def restore(self, state: State) -> None:
        self._rate, self._length = int(state["rate"]), int(state["length"])
        self._fresh()


class _Sound(NamedTuple):
    """The first samples of a recording, float32 (channels averaged), at its own rate; and how long it is as a whole."""

    samples: np.ndarray
    rate: int
    seconds: float


def _chunks(column: pl.Series, num_rows: int = _CHUNK_ROWS) -> Iterator[pl.Series]:
    for start in range(0, max(len(column), 1), num_rows):
        yield column.slice(start, num_rows)


def _read(data: bytes, keep_s: float) -> _Sound | None:
    """A recording decoded to its end, block by block; None where it is damaged, silent, empty or too long."""
    kept: list[np.ndarray] = []
    num_frames, num_kept, peak = 0, 0, 0.0
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            rate, frames, channels = sound.samplerate, sound.frames, sound.channels
            if not _MIN_RATE <= rate <= _MAX_RATE:
                return None
            wanted = math.ceil(keep_s * rate)
            for block in sound.blocks(_BLOCK_FRAMES, dtype="float32", always_2d=True):
                num_frames += len(block)
                loudest = float(np.abs(block).max(initial=0.0))
                peak = max(peak, loudest)
                if not math.isfinite(loudest) or num_frames * channels > _MAX_SAMPLES or num_frames > _MAX_SECONDS * rate:
                    return None
                if num_kept < wanted:
                    kept.append(block[: wanted - num_kept].mean(axis=1))
                    num_kept += len(kept[-1])
    except (soundfile.SoundFileError, RuntimeError, ValueError):
        return None
    if num_frames == 0 or num_frames < frames or peak * _FULL < 1.0:
        return None
    samples_L = np.concatenate(kept) if kept else np.zeros(0, dtype=np.float32)
    return _Sound(samples_L, rate, num_frames / rate) if np.isfinite(samples_L).all() else None


def _samples(data: bytes, rate: int, length: int) -> np.ndarray | None:
    """int16 (length,) at `rate`; None where `_read` finds nothing."""
    sound = _read(data, length / rate + 0.1)
    if sound is None:
        return None
    samples_L = sound.samples
    if sound.rate != rate:
        samples_L = _resampled(samples_L, sound.rate, rate)
    samples_L = np.clip(np.rint(samples_L[:length] * _FULL), -_FULL, _FULL - 1.0).astype(np.int16)
    return np.pad(samples_L, (0, length - len(samples_L)))


def _resampled(samples_L: np.ndarray, old: int, new: int) -> np.ndarray:
    """The same sound at another rate: a polyphase filter, scipy's `resample_poly`."""
    from scipy import signal  # 0.5 s to import: only recordings of another rate need it

    common = math.gcd(old, new)
    up, down = new // common, old // common
    resampled: np.ndarray = signal.resample_poly(samples_L, up, down, window=_low_pass(max(up, down)))
    return resampled


@lru_cache(maxsize=8)
def _low_pass(factor: int) -> np.ndarray:
    """The filter of scipy's own choice for a change of rate (Kaiser window, 20 factors long), which takes longer to make than to use."""
    from scipy import signal  # as above

    taps: np.ndarray = signal.firwin(20 * factor + 1, 1.0 / factor, window=("kaiser", 5.0)).astype(np.float32)
    return taps


def _wav(sound_L: np.ndarray, rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, sound_L, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
