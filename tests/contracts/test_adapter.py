"""Every adapter keeps its contract, beside architectures whose weights lie apart and whose lie in one matrix."""

from __future__ import annotations

from pathlib import Path

import pytest

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.testing.adapter import check_adapter


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("word", REGISTRIES["adapter"].names())
def test_every_adapter_keeps_the_contract(word: str, architecture: str, tmp_path: Path) -> None:
    check_adapter(word, tmp_path, architecture)


@pytest.mark.parametrize("word", REGISTRIES["adapter"].names())
def test_targets_and_scales_are_kept_too(word: str, tmp_path: Path) -> None:
    options = {"rank": 3, "alpha": 5.0, "dropout": 0.1, "targets": ["q", "v", "layers.1.mlp.down"], "rslora": True}
    check_adapter(Component(word, options), tmp_path, "gpt2")
