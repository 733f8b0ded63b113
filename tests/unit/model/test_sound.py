"""Spectrograms, series and sets on the device: formulas by hand, and what must not depend on padding or order."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from lode.core.errors import ModelError
from lode.core.registry import REGISTRIES
from lode.core.types import Component, TensorSpec
from lode.model.mel import LogMel, filterbank, hz_of_mel, masked, mel_of_hz
from lode.model.steps import pooled, real_steps
from lode.testing.encoder import rows

SOUND = TensorSpec("int16", (8000,), offset=(0.0,), scale=(1 / 32768,), rate=8000)
SERIES = TensorSpec("float32", (20, 2), ragged=(0,))


def _make(kind: str, word: str, spec: TensorSpec, **options: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return REGISTRIES[kind].create(Component(word, options), spec if kind == "augment" else [spec])


def _tone(hz: float, loud: float = 8000.0) -> torch.Tensor:
    return (loud * torch.sin(2 * math.pi * hz * torch.arange(8000) / 8000)).to(torch.int16)[None]


def test_mel_scales_are_those_of_their_sources() -> None:
    assert mel_of_hz(1000.0, "htk") == pytest.approx(999.99, abs=0.01)
    assert mel_of_hz(1000.0, "slaney") == pytest.approx(15.0) and mel_of_hz(6400.0, "slaney") == pytest.approx(42.0)
    for scale in ("htk", "slaney"):
        for hz in (0.0, 440.0, 999.0, 1001.0, 4000.0):
            assert float(hz_of_mel(torch.tensor(mel_of_hz(hz, scale), dtype=torch.float64), scale)) == pytest.approx(hz, abs=1e-6)


def test_every_filter_has_the_same_area_and_the_middle_bands_overlap() -> None:
    filter_MF = filterbank(16000, 1024, 40, "slaney")
    area_M = filter_MF.sum(dim=1) * 16000 / 1024
    assert torch.allclose(area_M[10:], torch.ones(30), atol=0.05)
    assert ((filter_MF > 0).sum(dim=0) <= 2).all()


def _log_mel(**options: Any) -> LogMel:
    default: dict[str, Any] = {"mels": 40, "window_ms": 32.0, "hop_ms": 16.0, "mel_scale": "htk", "normalize": "recording"}
    return LogMel(SOUND, "mel_cnn", **(default | options))


def test_a_tone_stands_in_its_band_and_loudness_counts_only_where_asked() -> None:
    mel_BMT = _log_mel()(_tone(1000.0))
    assert mel_BMT.shape == (1, 40, 63)
    edges = hz_of_mel(torch.linspace(0.0, mel_of_hz(4000.0, "htk"), 42, dtype=torch.float64), "htk")
    loudest = int(mel_BMT[0, :, 30].argmax())
    assert edges[loudest] < 1000 < edges[loudest + 2]
    assert torch.allclose(mel_BMT, _log_mel()(_tone(1000.0, 4000.0)), atol=0.05)
    loud, quiet = (_log_mel(normalize="none")(_tone(1000.0, level)).amax() for level in (8000.0, 800.0))
    assert float(loud - quiet) == pytest.approx(1.0, abs=0.02)


def test_too_many_bands_for_the_window_are_an_error_that_says_so() -> None:
    with pytest.raises(ModelError, match=r"mel_cnn: 200 mel bands .* Use fewer mels"):
        _make("encoder", "mel_cnn", SOUND, mels=200)
    with pytest.raises(ModelError, match="without a rate"):
        _make("encoder", "mel_cnn", TensorSpec("int16", (8000,)))


def test_masks_hide_stretches_of_at_most_the_asked_share() -> None:
    torch.manual_seed(0)
    hidden_BMT = masked(torch.ones(64, 40, 100), time=0.2, bands=0.0) == 0
    assert (hidden_BMT.all(dim=1) == hidden_BMT.any(dim=1)).all(), "all bands of a hidden frame"
    share_B = hidden_BMT[:, 0].float().mean(dim=1)
    assert 0 < share_B.mean() < 0.25 and share_B.max() <= 0.42
    assert torch.equal(masked(torch.ones(2, 40, 100), 0.0, 0.0), torch.ones(2, 40, 100))


def test_masking_is_for_training_only() -> None:
    encoder = _make("encoder", "mel_cnn", SOUND, mask_time=0.5)
    x = rows([SOUND], 4)
    assert torch.equal(encoder.eval()(x), encoder(x))
    encoder.train()
    assert not torch.equal(encoder(x), encoder(x))


@pytest.mark.parametrize("word", ["tcn", "patch_tst", "lstm", "gru"])
def test_padding_does_not_change_a_series(word: str) -> None:
    encoder = _make("encoder", word, SERIES).eval()
    x_BTC = torch.randn(4, 20, 2, generator=torch.Generator().manual_seed(0))
    x_BTC[:, 12:] = math.nan
    assert torch.allclose(encoder([x_BTC]), encoder([x_BTC[:, :12]]), atol=1e-5)


def test_a_tcn_looks_back_only() -> None:
    encoder = _make("encoder", "tcn", SERIES).eval()
    x_BTC = torch.randn(1, 20, 2, generator=torch.Generator().manual_seed(0))
    changed = x_BTC.clone()
    changed[0, 15] += 1.0
    before, after = encoder.steps([x_BTC])[0][0], encoder.steps([changed])[0][0]
    assert torch.equal(before[:15], after[:15]) and not torch.equal(before[15:], after[15:])


def test_series_with_the_same_encoder_are_channels_of_one() -> None:
    encoder = REGISTRIES["encoder"].create(
        Component("patch_tst", {"width": 8}), [SERIES, TensorSpec("float32", (9, 1), ragged=(0,))]
    )
    assert encoder.width == 3 * 8
    long_BTC, short_BTC = rows([SERIES, TensorSpec("float32", (9, 1), ragged=(0,))], 3)
    assert encoder([long_BTC, short_BTC]).shape == (3, 24)


@pytest.mark.parametrize("pool", ["mean", "sum", "max", "attention"])
def test_a_set_has_no_order(pool: str) -> None:
    spec = TensorSpec("float32", (7, 3), ragged=(0,), ordered=False)
    encoder = _make("encoder", "set", spec, pool=pool).eval()
    x_BSK = torch.randn(3, 7, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(encoder([x_BSK]), encoder([x_BSK.flip(1)]), atol=1e-5)


def test_pooling_counts_real_steps_only() -> None:
    x_BTC, keep_BT = real_steps(torch.tensor([[[1.0], [5.0], [math.nan]], [[math.nan]] * 3]))
    assert [pooled(x_BTC, keep_BT, how).flatten().tolist() for how in ("mean", "sum", "max", "last")] == [
        [3.0, 0.0], [6.0, 0.0], [5.0, 0.0], [5.0, 0.0],
    ]  # fmt: skip


def _changed(word: str, spec: TensorSpec, x: torch.Tensor, **options: Any) -> torch.Tensor:
    return _make("augment", word, spec, **options)(x, torch.Generator().manual_seed(0))


def test_gain_stays_within_its_decibels_and_clips() -> None:
    x = torch.full((500, 8000), 1000, dtype=torch.int16)
    factor_B = _changed("gain", SOUND, x, decibels=6)[:, 0] / 1000
    assert 0.5 <= factor_B.min() < 0.55 and 1.9 < factor_B.max() <= 2.0
    assert _changed("gain", SOUND, x * 30, decibels=20).max() == 32767


def test_shift_moves_and_lets_silence_in() -> None:
    x = torch.arange(1, 8001, dtype=torch.int16).expand(200, -1).contiguous()
    moved = _changed("shift", SOUND, x, share=0.01)
    first_B = moved[:, 4000].int() - 4001
    assert first_B.abs().max() <= 80 and len(first_B.unique()) > 50 and (moved == 0).any(dim=1).sum() > 150


def test_noise_on_a_recording_is_relative_to_its_own_loudness() -> None:
    loud, quiet = torch.full((64, 8000), 10_000, dtype=torch.int16), torch.full((64, 8000), 1_000, dtype=torch.int16)
    spread = [(_changed("noise", SOUND, x, deviation=0.1).float() - x).std(dim=1).max() for x in (loud, quiet)]
    assert 800 < float(spread[0]) <= 1020 and float(spread[0] / spread[1]) == pytest.approx(10, rel=0.02)


def test_warp_keeps_the_ends_and_changes_the_speed_between_them() -> None:
    x = torch.arange(20.0)[None, :, None].repeat(50, 1, 2)
    x[:, 15:] = math.nan
    warped = _changed("warp", SERIES, x, amount=0.5)
    assert torch.allclose(warped[:, 0], x[:, 0], atol=1e-4) and torch.allclose(warped[:, 14], x[:, 14], atol=1e-4)
    step = warped[:, 1:15, 0].diff(dim=1)
    assert step.min() > 0.4 and step.max() < 1.6 and (step < 0.8).any() and (step > 1.2).any()
    assert warped[:, 15:].isnan().all()


def test_scale_is_one_factor_for_a_channel_and_jitter_one_for_each_step() -> None:
    x = torch.ones(50, 20, 2)
    scaled, shaken = _changed("scale", SERIES, x), _changed("jitter", SERIES, x, deviation=0.2)
    assert (scaled == scaled[:, :1]).all() and 0.05 < float(scaled[:, 0].std()) < 0.15
    assert 0.18 < float(shaken.std()) < 0.22
