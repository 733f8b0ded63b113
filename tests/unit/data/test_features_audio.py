"""Recordings: one rate, one length, one channel; what is rejected."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.encoding import bands
from lode.data.infer import infer_input

soundfile = pytest.importorskip("soundfile")


def _tone(hz: float, rate: int = 8000, seconds: float = 0.5, channels: int = 1, container: str = "WAV", loud: float = 0.5) -> bytes:
    wave = loud * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)
    sound = np.stack([wave, *[np.zeros_like(wave)] * (channels - 1)], axis=1)
    buffer = io.BytesIO()
    soundfile.write(buffer, sound, rate, format=container)
    return buffer.getvalue()


def _audio(cells: list[Any], **options: Any) -> tuple[Any, np.ndarray]:
    feature = REGISTRIES["feature"].create(Component("audio", options))
    return feature, feature.fit_transform(feature.parse(pl.Series("x", cells, dtype=pl.Binary)), None, None)


@pytest.mark.parametrize("rate", [8000, 11025, 44100])
def test_a_tone_keeps_its_pitch_at_another_rate(rate: int) -> None:
    feature, array = _audio([_tone(440, rate)], rate=8000, seconds=0.5)
    assert feature.spec.shape == (4000,) and feature.spec.rate == 8000 and array.dtype == np.int16
    strongest = np.abs(np.fft.rfft(array[0].astype(float))).argmax() * 8000 / 4000
    assert abs(strongest - 440) <= 2
    assert abs(np.abs(array[0]).max() / 32768 - 0.5) < 0.05


def test_channels_are_averaged_long_ones_cut_and_short_ones_end_in_silence() -> None:
    _, array = _audio([_tone(100, channels=2), _tone(100, seconds=2.0), _tone(100, seconds=0.25)], seconds=0.5)
    assert abs(np.abs(array[0]).max() - 8192) < 100
    assert np.abs(array[1][-100:]).max() > 10_000 and not array[2][2000:].any() and array[2][:2000].any()


def test_rate_and_length_come_from_the_training_recordings() -> None:
    feature, _ = _audio([_tone(100, 8000, 0.3)] * 3 + [_tone(100, 16000, 0.2)])
    assert feature.spec.rate == 8000 and feature.spec.shape == (2400,)
    assert _audio([_tone(100, 44100, 0.3)])[0].spec.rate == 16000


@pytest.mark.parametrize(
    "cell",
    [b"", b"RIFF\x00\x00", b"no sound", _tone(440, container="FLAC")[:-900], _tone(440, loud=0.0), _tone(440, rate=800)],
    ids=["empty", "header", "other", "cut", "silent", "rate"],
)
def test_what_is_no_recording_is_rejected(cell: bytes) -> None:
    feature = REGISTRIES["feature"].create(Component("audio"))
    for copies in (1, 100):
        assert feature.parse(pl.Series("x", [cell, _tone(440)] * copies)).null_count() == copies


def test_base64_is_read_as_the_bytes_are() -> None:
    feature, array = _audio([_tone(300)])
    again = feature.parse(pl.Series("x", [base64.b64encode(_tone(300)).decode(), "?"]))
    assert (
        again.null_count() == 1 and np.array_equal(feature.transform(again)[0], array[0]) and not feature.transform(again)[1].any()
    )


def test_a_float_recording_with_a_number_that_is_none_is_rejected() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.array([0.1, np.nan, 0.2] * 50, dtype=np.float32), 8000, format="WAV", subtype="FLOAT")
    assert REGISTRIES["feature"].create(Component("audio")).parse(pl.Series("x", [buffer.getvalue()])).null_count() == 1


def test_a_tone_is_loudest_in_the_band_that_holds_it() -> None:
    edges = 700.0 * (10.0 ** (np.linspace(0.0, 2595.0 * np.log10(1 + 4000 / 700.0), bands.NUM_BANDS + 1) / 2595.0) - 1.0)
    for hz in (500.0, 1200.0, 3000.0):
        sound = (8000 * np.sin(2 * np.pi * hz * np.arange(4000) / 8000)).astype(np.int16)
        found = dict(zip(bands.names(), bands.figures(sound, 8000).tolist(), strict=True))
        loudest = max(range(1, bands.NUM_BANDS + 1), key=lambda band: found[f"part3.band{band}"])
        assert edges[loudest - 1] - 40 <= hz <= edges[loudest] + 40
    assert abs(found["seconds"] - 0.5) < 0.01


def test_a_column_of_recordings_is_inferred_as_audio() -> None:
    for container in ("WAV", "FLAC", "OGG"):
        guess = infer_input(pl.Series("x", [_tone(440, container=container)] * 3))
        assert guess.component is not None and guess.component.type == "audio"
