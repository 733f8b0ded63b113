"""Pooling and relu in one: torch's own bits, gradients and ties; what is not finite is not lost."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from lode.core.types import TensorSpec
from lode.model.blocks import Standardize
from lode.model.max_pool import pool_relu


def _maps(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """Few different values, so that many are equal."""
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return (numbers * 2).round().to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    ("shape", "side"), [((3, 32, 30, 30), 2), ((2, 7, 9, 13), 2), ((1, 2, 2, 2), 2), ((2, 7, 9, 13), 3), ((2, 4, 1, 6), 1)]
)
def test_it_is_relu_of_max_pooling_bit_by_bit(shape: tuple[int, ...], dtype: torch.dtype, side: int) -> None:
    own, wanted = _maps(*shape, dtype=dtype).requires_grad_(), _maps(*shape, dtype=dtype).requires_grad_()
    y, y_wanted = pool_relu(own, side), functional.relu(functional.max_pool2d(wanted, side))
    slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    y.backward(slope)
    y_wanted.backward(slope)
    assert torch.equal(y, y_wanted) and torch.equal(own.grad, wanted.grad)  # type: ignore[arg-type]


def test_outside_training_it_says_the_same_and_leaves_its_input_alone() -> None:
    h = _maps(2, 8, 10, 10)
    before = h.clone()
    with torch.inference_mode():
        assert torch.equal(pool_relu(h, 2), functional.relu(functional.max_pool2d(h, 2)))
    assert torch.equal(h, before)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_channel_that_is_not_finite_stays_so(sign: float) -> None:
    h = _maps(1, 2, 4, 4)
    h[:, 1] = torch.copysign(torch.tensor(float("nan")), torch.tensor(sign)).to(h.dtype)
    y = pool_relu(h, 2)
    assert y[:, 0].isfinite().all() and y[:, 1].isnan().all()


def test_equal_scales_of_channels_become_one_number() -> None:
    x = torch.randint(0, 256, (2, 4, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    same = Standardize(TensorSpec("uint8", (4, 4, 3), offset=(2.0,) * 3, scale=(1 / 255,) * 3))
    own = Standardize(TensorSpec("uint8", (4, 4, 3), offset=(2.0, 2.0, 3.0), scale=(1 / 255, 1 / 255, 0.5)))
    assert same.scale is not None and same.scale.shape == (1,) and own.scale is not None and own.scale.shape == (3,)
    assert torch.equal(same(x), (x.float() - 2.0) * torch.tensor((1 / 255,) * 3))
    assert torch.equal(own(x)[..., :2], same(x)[..., :2])
