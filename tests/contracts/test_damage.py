"""Every damage keeps the contract, and does to cells what its page says."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile

from lode.core.registry import REGISTRIES
from lode.core.types import ColumnSchema, Component
from lode.data.formats import decoding
from lode.pipeline.damage import picture
from lode.testing.damage import check_damage, samples


def done(word: str, kind: str, cells: pl.Series | None = None, **options: Any) -> tuple[pl.Series, pl.Series]:
    """Cells before and after."""
    before = samples()[kind] if cells is None else cells
    damage = REGISTRIES["damage"].create(Component(word, options), ColumnSchema(kind, kind, "", ""), before)
    return before, damage.apply(before, np.random.default_rng(0))


@pytest.mark.parametrize("word", REGISTRIES["damage"].names())
def test_every_damage_keeps_the_contract(word: str) -> None:
    check_damage(word)


def test_noise_has_the_deviation_that_it_says() -> None:
    before, after = done("noise", "number", pl.Series("x", np.random.default_rng(1).normal(3.0, 5.0, 20_000)))
    assert (after - before).std() == pytest.approx(0.5, rel=0.03)
    before, after = done("noise", "image", pl.Series("image", [decoding.to_npy(np.full((100, 100, 1), 128, np.uint8))]))
    assert picture(after[0]).astype(float).std() == pytest.approx(25.5, rel=0.03)
    before, after = done("noise", "audio")
    (clean, _), (noisy, _) = (soundfile.read(io.BytesIO(cells[0])) for cells in (before, after))
    # A tenth of the root mean square is 20 dB below it.
    assert 20 * np.log10(np.sqrt(np.mean(clean**2)) / (noisy - clean).std()) == pytest.approx(20, abs=1)
    _, after = done("noise", "series", pl.Series("s", [[1.0, None, 3.0]]))
    assert after[0][1] is None and after[0][0] != 1.0


def test_a_unit_mistake_strikes_one_cell_in_a_hundred() -> None:
    before, after = done("units", "number", pl.Series("x", np.arange(1.0, 20_001.0)))
    ratio = (after / before).to_numpy()
    assert set(ratio.round(6)) == {1.0, 1000.0} and (ratio > 1).mean() == pytest.approx(0.01, abs=0.003)


@pytest.mark.parametrize(("word", "share"), [("missing", 0.1), ("unseen", 0.1)])
def test_a_share_of_the_cells_is_struck(word: str, share: float) -> None:
    before, after = done(word, "category", pl.Series("c", ["red"] * 20_000))
    assert (after.fill_null("") != before).mean() == pytest.approx(share, abs=0.01)
    assert done(word, "category", pl.Series("c", ["red"] * 100), share=1.0)[1].n_unique() == 1
    assert done("absent", "category", before)[1].null_count() == len(before)


def test_typos_leave_the_letters_that_they_do_not_strike() -> None:
    text = "abcdefghij" * 2_000
    _, after = done("typos", "text", pl.Series("t", [text]))
    # Half of the letters that are struck are dropped.
    assert 1 - len(after[0]) / len(text) == pytest.approx(0.025, abs=0.005)
    _, after = done("typos", "text", pl.Series("t", ["a", " b"]), share=1.0)
    assert all(cell.strip() for cell in after), "a text never becomes a missing cell"


def test_texts_are_cut_and_shouted() -> None:
    cells = pl.Series("t", ["abcdef", "x", None, "中文句子", "  ab"])
    assert done("cut", "text", cells)[1].to_list() == ["abc", "x", None, "中文", "  ab"]
    assert done("capitals", "text", cells)[1].to_list() == ["ABCDEF", "X", None, "中文句子", "  AB"]


def test_pictures_keep_their_size_and_become_what_they_should() -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[8:12, 12:18] = 200
    cells = pl.Series("image", [decoding.to_npy(pixels)])
    for word in ("blur", "dark", "jpeg", "turn", "noise"):
        assert picture(done(word, "image", cells)[1][0]).shape == pixels.shape, word
    assert (picture(done("dark", "image", cells)[1][0]) == pixels // 2).all()
    blurred = picture(done("blur", "image", cells)[1][0]).astype(float)
    assert (
        blurred.max() <= 200 and blurred.sum() == pytest.approx(pixels.sum(), rel=0.02) and (blurred > 0).sum() > (pixels > 0).sum()
    )
    straight, turned = pixels.astype(float), picture(done("turn", "image", cells, degrees=180.0)[1][0])
    assert np.abs(turned - straight[::-1, ::-1]).max() < 2
    assert len(done("jpeg", "image")[1][0]) < len(done("jpeg", "image", quality=95)[1][0])


def test_a_quiet_recording_is_a_tenth_as_loud_at_20_decibels() -> None:
    before, after = done("quiet", "audio")
    (clean, rate), (quiet, same) = (soundfile.read(io.BytesIO(cells[0])) for cells in (before, after))
    assert rate == same and len(clean) == len(quiet)
    assert np.abs(quiet).mean() / np.abs(clean).mean() == pytest.approx(0.1, rel=0.01)


def test_a_gap_is_one_stretch_and_never_all() -> None:
    _, after = done("gap", "series", pl.Series("s", [[float(place) for place in range(20)], [1.0], [1.0, None]]))
    torn = [step is None for step in after[0]]
    assert sum(torn) == 4 and "".join("x" if gone else "." for gone in torn).strip(".") == "xxxx"
    assert after[1].to_list() == [1.0] and after[2].drop_nulls().len() == 1
