"""The contracts that are torch modules: encoder and augment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from lode.core.types import TensorSpec


class Encoder(torch.nn.Module, ABC):
    """Arrays of one or several inputs to one vector each row. `__init__(self, specs: Sequence[TensorSpec], *, ...)`.

    joint: True where inputs with the same encoder and options are encoded together by one instance (numbers, categories);
        then `specs` has several entries and `forward` gets as many tensors.
    feature_defaults: options that the encoder wants from the feature where the user says nothing.
    """

    joint: ClassVar[bool] = False
    feature_defaults: ClassVar[dict[str, Any]] = {}
    width: int
    """D of the vector that `forward` returns; set in `__init__`."""

    @staticmethod
    @abstractmethod
    def accepts(spec: TensorSpec) -> bool:
        """Whether it can encode such an array."""

    @abstractmethod
    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """inputs: one tensor (B, *shape) for each spec, in `spec.dtype`. Returns h_BD float32 (or the autocast dtype)."""


class Augment(torch.nn.Module, ABC):
    """Random change of a training batch, on the device, vectorised. `__init__(self, spec: TensorSpec, *, ...)`."""

    @staticmethod
    @abstractmethod
    def accepts(spec: TensorSpec) -> bool:
        """Whether it can change such an array."""

    @abstractmethod
    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """x: (B, H, W, C) uint8 or float32; returns the same shape and dtype. All randomness comes from `generator`."""
