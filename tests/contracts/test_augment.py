"""Every augmentation of the folder keeps the contract, and does what its name says."""

from __future__ import annotations

import pytest
import torch

from lode.core.registry import REGISTRIES
from lode.core.types import Component, TensorSpec
from lode.testing.augment import check_accepts_pictures_only, check_augment

WORDS = REGISTRIES["augment"].names()
SPEC = TensorSpec("uint8", (9, 9, 1))


def _augment(word: str, options: dict[str, object], x: torch.Tensor) -> torch.Tensor:
    return REGISTRIES["augment"].create(Component(word, options), SPEC)(x, torch.Generator().manual_seed(0))


@pytest.fixture
def ramp() -> torch.Tensor:
    """Pictures that grow brighter from left to right."""
    return (torch.arange(9, dtype=torch.uint8) * 20).expand(32, 9, 9).unsqueeze(3).contiguous()


@pytest.mark.parametrize("word", WORDS)
def test_every_augmentation_keeps_the_contract(word: str) -> None:
    check_augment(word)
    check_accepts_pictures_only(word)


def test_flip_mirrors_left_to_right(ramp: torch.Tensor) -> None:
    assert torch.equal(_augment("flip", {"share": 1.0}, ramp), ramp.flip(2))


def test_flip_never_mirrors_at_share_zero(ramp: torch.Tensor) -> None:
    assert torch.equal(_augment("flip", {"share": 0.0}, ramp), ramp)


def test_crop_moves_by_at_most_the_border(ramp: torch.Tensor) -> None:
    moved = _augment("crop", {"border": 2}, ramp)[:, 4, 4, 0].int()
    assert moved.min() >= 40 and moved.max() <= 120 and len(moved.unique()) > 2


def test_crop_fills_with_zeros_where_asked(ramp: torch.Tensor) -> None:
    moved = _augment("crop", {"border": 2, "fill": "zeros"}, ramp + 1)
    assert (moved == 0).any() and not (_augment("crop", {"border": 2}, ramp + 1) == 0).any()


def test_zoom_keeps_the_middle_and_changes_the_slope(ramp: torch.Tensor) -> None:
    zoomed = _augment("zoom", {"amount": 0.5}, ramp)
    assert (zoomed[:, :, 4] == 80).all()
    slope = (zoomed[:, 4, 5, 0].int() - zoomed[:, 4, 3, 0].int()) / 40
    assert slope.min() < 0.8 and slope.max() > 1.2 and (slope >= 0.45).all() and (slope <= 1.55).all()


def test_shear_moves_rows_sideways_in_proportion_to_their_height(ramp: torch.Tensor) -> None:
    sheared = _augment("shear", {"degrees": 30}, ramp)[:, :, 4, 0].int() - 80
    assert (sheared[:, 4].abs() <= 1).all()
    assert (sheared[:, 2] + sheared[:, 6]).abs().max() <= 1 and sheared[:, 2].abs().max() > 10
