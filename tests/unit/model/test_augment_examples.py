"""What augmentations do to every pixel: numpy's padding, Pillow's colours, maps read off pictures that hold their own coordinates."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats

from lode.core.registry import REGISTRIES
from lode.core.types import Component, TensorSpec
from lode.model.affine import chain, rotation, warp
from lode.model.colour import recolour

HEIGHT, WIDTH = 16, 24


def changed(word: str, spec: TensorSpec, x: torch.Tensor, seed: int = 0, **options: Any) -> torch.Tensor:
    augment = REGISTRIES["augment"].create(Component(word, options), spec)
    found: torch.Tensor = augment(x, torch.Generator().manual_seed(seed))
    return found


def picture(height: int, width: int, channels: int = 1) -> np.ndarray:
    """Every byte another one."""
    return np.random.default_rng(0).permutation(256)[: height * width * channels].reshape(height, width, channels).astype(np.uint8)


@pytest.mark.parametrize("fill", ["reflect", "zeros"])
def test_crop_takes_every_window_of_the_padded_picture_alike(fill: str) -> None:
    """Numpy's padding by two pixels has 25 windows of 5 x 7: each is drawn about 40 times in 1,000."""
    whole = picture(5, 7)
    padded = np.pad(whole, ((2, 2), (2, 2), (0, 0)), mode="reflect" if fill == "reflect" else "constant")
    windows = {padded[row : row + 5, column : column + 7].tobytes(): 0 for row in range(5) for column in range(5)}
    for each in changed("crop", TensorSpec("uint8", (5, 7, 1)), torch.from_numpy(whole).repeat(1000, 1, 1, 1), border=2, fill=fill):
        windows[each.numpy().tobytes()] += 1
    assert len(windows) == 25 and stats.chisquare(list(windows.values())).pvalue > 0.001


def mixed(word: str, size: tuple[int, int], strength: float, seed: int) -> tuple[np.ndarray, float]:
    """Where the other picture shows (B, H, W), and the own share that is said. Rows are of zeros, their partners of ones."""
    augment = REGISTRIES["augment"].create(Component(word, {"strength": strength}), TensorSpec("float32", (*size, 1)))
    x = torch.cat([torch.zeros(4, *size, 1), torch.ones(4, *size, 1)])
    found, share = augment.mix(x, torch.arange(8).roll(4), torch.Generator().manual_seed(seed))
    return found[:4, :, :, 0].numpy(), float(share)


def test_cutmix_shows_a_rectangle_of_the_pictures_form_anywhere_in_it() -> None:
    """Sides are the root of the other's share of both sides (Yun 2019, equation 2), each rounded to pixels; the share is what is left."""
    ends = set()
    for seed in range(200):
        shown, share = mixed("cutmix", (8, 32), 1.0, seed)
        rows, columns = shown.any(axis=2).sum(axis=1), shown.any(axis=1).sum(axis=1)
        assert (shown.sum(axis=(1, 2)) == rows * columns).all() and len(set(rows)) == len(set(columns)) == 1
        assert abs(rows[0] / 8 - columns[0] / 32) <= 0.5 / 8 + 0.5 / 32 + 1e-6
        assert share == pytest.approx(1 - rows[0] * columns[0] / 256, abs=1e-6)
        if 0 < rows[0] < 8:
            ends |= {(int(each.any(axis=1).argmax()) == 0, bool(each[-1].any())) for each in shown}
    assert {(True, False), (False, True), (False, False)} <= ends, "at the top, at the bottom, and between"


@pytest.mark.parametrize("word", ["mixup", "cutmix"])
@pytest.mark.parametrize("strength", [0.3, 2.0])
def test_own_shares_are_of_the_beta_distribution_that_is_asked_for(word: str, strength: float) -> None:
    """A share between a quarter and three quarters is as rare or frequent as it says: 0.24 at 0.3, 0.69 at 2, and a half at 1."""
    shares = np.array([mixed(word, (32, 32), strength, seed)[1] for seed in range(300)])
    halves = int(((shares > 0.25) & (shares < 0.75)).sum())
    law = stats.beta(strength, strength)
    assert stats.binomtest(halves, 300, law.cdf(0.75) - law.cdf(0.25)).pvalue > 0.001


def test_mixup_of_bytes_is_their_weighted_mean_rounded() -> None:
    mixup = REGISTRIES["augment"].create(Component("mixup", {"strength": 1.0}), TensorSpec("uint8", (16, 16, 1)))
    x = torch.from_numpy(np.stack([picture(16, 16), picture(16, 16)[::-1]]))
    found, share = mixup.mix(x, torch.tensor([1, 0]), torch.Generator().manual_seed(1))
    exact = float(share) * x.double() + (1 - float(share)) * x.flip(0).double()
    assert (found.double() - exact).abs().max() <= 0.5001 and abs(float((found.double() - exact).mean())) < 0.02


def test_flip_mirrors_the_axis_and_the_share_that_are_asked_for() -> None:
    spec, x = TensorSpec("uint8", (5, 7, 1)), torch.from_numpy(picture(5, 7)).repeat(400, 1, 1, 1)
    assert torch.equal(changed("flip", spec, x, direction="vertical", share=1.0), x.flip(1))
    assert torch.equal(changed("flip", spec, x, direction="both", share=1.0), x.flip(1, 2))
    some = (changed("flip", spec, x, share=0.2) != x).flatten(1).any(dim=1).sum().item()
    assert stats.binomtest(some, 400, 0.2).pvalue > 0.001


def test_erase_covers_each_place_of_any_picture_by_the_colour_of_each_channel() -> None:
    """A side of 3 on a picture of 6 x 10, its middle on any pixel of it: some 60 places, as often with a share of one half."""
    spec = TensorSpec("float32", (6, 10, 3), offset=(2.0, 3.0, 4.0), scale=(1.0, 1.0, 1.0))
    erased = changed("erase", spec, torch.zeros(3000, 6, 10, 3), size=0.5, share=0.5)
    hidden = (erased != 0).all(dim=3)
    assert (erased[hidden] == torch.tensor([2.0, 3.0, 4.0])).all() and torch.equal(hidden, (erased != 0).any(dim=3))
    assert stats.binomtest(int(hidden.flatten(1).any(dim=1).sum()), 3000, 0.5).pvalue > 0.001
    middles: dict[tuple[int, int], int] = {}
    for each in hidden[hidden.flatten(1).any(dim=1)]:
        rows, columns = each.any(dim=1).nonzero()[:, 0], each.any(dim=0).nonzero()[:, 0]
        middle = tuple(int(at[-1]) - 1 if at[0] == 0 else int(at[0]) + 1 for at in (rows, columns))
        middles[middle] = middles.get(middle, 0) + 1  # type: ignore[index, arg-type]
    assert set(middles) == {(row, column) for row in range(6) for column in range(10)}
    assert stats.chisquare(list(middles.values())).pvalue > 0.001


def maps(word: str, rows: int = 300, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """How a change moves pixels: its linear part (B, 2, 2) and where the middle comes from less the middle (B, 2), both (x, y) in pixels.

    Read off pictures whose channels are the places themselves; along a slope interpolation is exact.
    """
    y, x = torch.meshgrid(torch.arange(float(HEIGHT)), torch.arange(float(WIDTH)), indexing="ij")
    places = torch.stack([x, y], dim=2).repeat(rows, 1, 1, 1)
    found = changed(word, TensorSpec("float32", (HEIGHT, WIDTH, 2)), places, **options).double()
    top, left = HEIGHT // 2 - 1, WIDTH // 2 - 1
    core = found[:, top : top + 2, left : left + 2].numpy()
    linear = np.stack([core[:, 0, 1] - core[:, 0, 0], core[:, 1, 0] - core[:, 0, 0]], axis=2)
    middle = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    moved = core.mean(axis=(1, 2)) - middle
    if word != "policy":  # which changes values too
        whole = np.einsum("bij,hwj->bhwi", linear, places[0].numpy() - middle) + (middle + moved)[:, None, None]
        np.testing.assert_allclose(found, np.clip(whole, 0, [WIDTH - 1, HEIGHT - 1]), atol=1e-2, err_msg="edges are repeated")
    return linear, moved


def test_a_rotation_turns_pixels_by_angles_that_are_all_alike() -> None:
    linear, moved = maps("rotate", degrees=20.0)
    angle = np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    assert linear == pytest.approx(np.array([[cos, -sin], [sin, cos]]).transpose(2, 0, 1), abs=1e-4) and moved == pytest.approx(
        0.0, abs=1e-4
    )
    assert stats.kstest(angle, stats.uniform(-20, 40).cdf).pvalue > 0.001


def test_a_shear_slants_rows_by_angles_that_are_all_alike() -> None:
    linear, moved = maps("shear", degrees=20.0)
    angle = np.degrees(np.arctan(linear[:, 0, 1]))
    assert linear[:, [0, 1], [0, 1]] == pytest.approx(1.0, abs=1e-4) and linear[:, 1, 0] == pytest.approx(0.0, abs=1e-4)
    assert moved == pytest.approx(0.0, abs=1e-4) and stats.kstest(angle, stats.uniform(-20, 40).cdf).pvalue > 0.001
    assert np.abs(angle).max() == pytest.approx(20, abs=0.5)


def test_a_zoom_draws_a_factor_for_each_axis() -> None:
    linear, moved = maps("zoom", amount=0.3)
    factor = linear[:, [0, 1], [0, 1]]
    assert linear[:, [0, 1], [1, 0]] == pytest.approx(0.0, abs=1e-4) and moved == pytest.approx(0.0, abs=1e-4)
    assert abs(stats.pearsonr(factor[:, 0], factor[:, 1]).statistic) < 0.2
    for axis in (0, 1):
        assert stats.kstest(factor[:, axis], stats.uniform(0.7, 0.6).cdf).pvalue > 0.001


def test_a_policy_moves_pictures_as_far_as_its_strength_says_to_both_sides() -> None:
    """Strength 0.5: 15 degrees, slants of 0.15 of the other side, shifts of 0.15 of the side; six rounds of eleven move nothing."""
    linear, moved = maps("policy", 600, rounds=1, strength=0.5)
    kinds: dict[tuple[float, ...], int] = {}
    for each, shift in zip(linear, moved, strict=True):
        kind = tuple(float(f"{value:.2f}") + 0.0 for value in (*each.ravel(), *shift))
        kinds[kind] = kinds.get(kind, 0) + 1
    cos, sin, side, other = math.cos(math.radians(15)), math.sin(math.radians(15)), 0.15 * WIDTH, 0.15 * HEIGHT
    wanted = [(cos, -sin * sign, sin * sign, cos, 0, 0) for sign in (1, -1)]
    wanted += [(1, sign * 0.15 * WIDTH / HEIGHT, 0, 1, 0, 0) for sign in (1, -1)]
    wanted += [(1, 0, sign * 0.15 * HEIGHT / WIDTH, 1, 0, 0) for sign in (1, -1)]
    wanted += [(1, 0, 0, 1, sign * side, 0) for sign in (1, -1)] + [(1, 0, 0, 1, 0, sign * other) for sign in (1, -1)]
    for kind in wanted:
        near = sum(number for found, number in kinds.items() if np.allclose(found, kind, atol=0.011))
        assert stats.binomtest(near, 600, 1 / 22).pvalue > 0.001, (kind, near)


def test_colours_and_tones_of_a_policy_are_those_of_pillow() -> None:
    """One round at strength 0.5: factors 1.45 and 0.55, solarize from 3/4 of the range on, invert. Six of eleven do not move pixels."""
    whole = np.random.default_rng(1).integers(40, 216, (6, 8, 3)).astype(np.uint8)
    whole[0, :4] = [[255, 255, 255], [0, 0, 0], [191, 191, 191], [192, 192, 192]]
    found = changed("policy", TensorSpec("uint8", (6, 8, 3)), torch.from_numpy(whole).repeat(1100, 1, 1, 1), rounds=1, strength=0.5)
    own = Image.fromarray(whole)
    wanted = {"none": (own, 2), "solarize": (ImageOps.solarize(own, 192), 2), "invert": (ImageOps.invert(own), 2)}
    for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        wanted |= {f"{kind.__name__} {factor}": (kind(own).enhance(factor), 1) for factor in (1.45, 0.55)}
    for name, (image, halves) in wanted.items():
        off = np.abs(found.numpy().astype(int) - np.asarray(image).astype(int))
        number = int((off.max(axis=(1, 2, 3)) <= 1).sum())
        assert stats.binomtest(number, 1100, halves / 22).pvalue > 0.001, (name, number)


def test_rounds_of_a_policy_multiply_and_tones_come_last() -> None:
    """Of a grey of 100 only brightness (1.45 or 0.55, perhaps twice) and invert are to be seen; 191 and more there is not to solarize
    but after 1.45 twice, when no round is left.
    """
    found = changed("policy", TensorSpec("uint8", (2, 2, 3)), torch.full((5000, 2, 2, 3), 100, dtype=torch.uint8), strength=0.5)
    wanted = {100, 145, 55, 210, 80, 30} | {255 - 100, 255 - 145, 255 - 55}
    assert set(found.unique().tolist()) == wanted
    floats = torch.tensor([-2.0, -1.7, -1.0]).view(1, 1, 3, 1).repeat(300, 2, 1, 1)
    turned = changed("policy", TensorSpec("float32", (2, 3, 1)), floats, rounds=1, strength=0.5)
    number = int(((turned - (-3.0 - floats)).abs().flatten(1).amax(dim=1) < 1e-5).sum())
    assert stats.binomtest(number, 300, 1 / 11).pvalue > 0.001, "floats turn over between the least and the largest of their batch"


def test_three_changes_of_colour_follow_one_another_as_those_of_pillow() -> None:
    """First saturation about each pixel's grey, then contrast about the mean grey, then brightness; Pillow cuts digits off after each."""
    whole = np.random.default_rng(2).integers(80, 170, (6, 8, 3)).astype(np.uint8)
    image = ImageEnhance.Color(Image.fromarray(whole)).enhance(1.3)
    image = ImageEnhance.Brightness(ImageEnhance.Contrast(image).enhance(0.7)).enhance(1.2)
    planes = torch.from_numpy(whole).permute(2, 0, 1)[None].float()
    one = {name: torch.tensor([factor]) for name, factor in (("saturation_B", 1.3), ("contrast_B", 0.7), ("brightness_B", 1.2))}
    assert np.abs(recolour(planes, **one)[0].permute(1, 2, 0).numpy() - np.asarray(image)).max() <= 3.0
    grey = planes[:, :1]
    found = recolour(grey, **one)
    torch.testing.assert_close(found, 1.2 * (grey.mean() + 0.7 * (grey - grey.mean())))


def test_pictures_of_floats_stay_between_the_least_and_the_largest_of_their_batch() -> None:
    x = torch.linspace(-2.0, -1.0, 48).view(1, 4, 4, 3).repeat(50, 1, 1, 1)
    found = changed("colour", TensorSpec("float32", (4, 4, 3)), x, brightness=1.0)
    assert found.min() == -2.0 and found.max() == -1.0


SOUND = TensorSpec("float32", (400,), offset=(0.0,), scale=(1.0,), rate=8000)


def test_gain_is_one_factor_a_recording_of_decibels_that_are_all_alike() -> None:
    factor = changed("gain", SOUND, torch.ones(300, 400), decibels=6.0).numpy()
    assert np.ptp(factor, axis=1).max() == 0.0
    assert stats.kstest(20 * np.log10(factor[:, 0]), stats.uniform(-6, 12).cdf).pvalue > 0.001


def test_noise_of_a_recording_is_a_share_of_its_own_root_mean_square() -> None:
    """Of a sine of height A that is A over the root of 2; its mean size would be 2 A / pi, a tenth less."""
    wave = torch.sin(2 * math.pi * torch.arange(4000.0) / 40)
    x = torch.cat([1000 * wave.repeat(200, 1), 20_000 * wave.repeat(200, 1)]).to(torch.int16)
    spec = TensorSpec("int16", (4000,), offset=(0.0,), scale=(1.0,), rate=8000)
    spread = (changed("noise", spec, x, deviation=0.2).float() - x).std(dim=1).numpy() * math.sqrt(2)
    for each in (spread[:200] / 200, spread[200:] / 4000):
        assert each.max() == pytest.approx(1.0, abs=0.03) and stats.kstest(each, stats.uniform(0, 1).cdf).pvalue > 0.001


def test_shift_takes_every_window_of_the_recording_with_silence_around_it() -> None:
    """Up to half of eight samples to either side: nine windows."""
    spec, x = TensorSpec("float32", (8,), offset=(0.0,), scale=(1.0,), rate=8000), torch.arange(1.0, 9.0)
    padded = np.pad(x.numpy(), 4)
    windows = {tuple(padded[start : start + 8]): 0 for start in range(9)}
    for each in changed("shift", spec, x.repeat(900, 1), share=0.5).tolist():
        windows[tuple(each)] += 1
    assert len(windows) == 9 and stats.chisquare(list(windows.values())).pvalue > 0.001


def test_scale_draws_a_factor_around_one_for_each_channel() -> None:
    factor = changed("scale", TensorSpec("float32", (5, 2), ragged=(0,)), torch.ones(400, 5, 2), deviation=0.2)[:, 0].numpy()
    assert stats.kstest(factor.ravel(), stats.norm(1.0, 0.2).cdf).pvalue > 0.001
    assert abs(stats.pearsonr(factor[:, 0], factor[:, 1]).statistic) < 0.2


def test_warp_moves_by_three_waves_of_small_size() -> None:
    """A slope shows the moves themselves: sums of a sin(pi k u) / (pi k), every |a| up to a third of the amount."""
    steps = 101
    x = torch.arange(float(steps))[None, :, None].repeat(300, 1, 1)
    found = changed("warp", TensorSpec("float32", (steps, 1), ragged=(0,)), x, amount=0.6)[:, :, 0].numpy()
    u, wave = np.arange(steps) / (steps - 1), np.pi * np.arange(1, 4)
    basis = np.sin(u[:, None] * wave) / wave * (steps - 1)
    size, *_ = np.linalg.lstsq(basis, (found - np.arange(steps)).T, rcond=None)
    assert np.abs(basis @ size - (found - np.arange(steps)).T).max() < 1e-2
    for each in size:
        assert stats.kstest(each, stats.uniform(-0.2, 0.4).cdf).pvalue > 0.001


def test_synonyms_are_found_however_their_list_is_written(tmp_path: Path) -> None:
    (tmp_path / "alike.txt").write_text("Film, MOVIE\n", encoding="utf-8")
    spec = TensorSpec("int32", (4,), ragged=(0,), cardinality=4)
    augment = REGISTRIES["augment"].create(Component("synonyms", {"share": 1.0, "path": str(tmp_path / "alike.txt")}), spec)
    augment.read_words(["", "", "film", "movie"])
    assert augment(torch.tensor([[2, 3, 2, 0]], dtype=torch.int32), torch.Generator().manual_seed(0)).tolist() == [[3, 2, 3, 0]]


def test_two_maps_in_one_are_one_after_the_other() -> None:
    """A turn, and a slant with a shift, do not commute: read off the middle of pictures that hold their places."""
    turn, slant = rotation(torch.tensor([0.4]), HEIGHT / WIDTH), rotation(torch.tensor([0.0]), 1.0)
    slant[:, 0, 1], slant[:, :, 2] = 0.2, torch.tensor([0.1, -0.2])
    y, x = torch.meshgrid(torch.arange(float(HEIGHT)), torch.arange(float(WIDTH)), indexing="ij")
    places = torch.stack([x, y], dim=2)[None]
    for first, second in ((turn, slant), (slant, turn)):
        both, apart = warp(places, chain(first, second)), warp(warp(places, first), second)
        torch.testing.assert_close(both[:, 6:10, 9:15], apart[:, 6:10, 9:15], atol=1e-3, rtol=0)
