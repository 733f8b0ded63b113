"""The contracts that are torch modules: encoder and augment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from lode.core.types import TensorSpec


class Encoder(torch.nn.Module, ABC):
    """Arrays of one or several inputs to one vector each row. `__init__(self, specs: Sequence[TensorSpec], *, ...)`.

    reads: features whose arrays it can take; fits: how its options must be to one another (`lode/core/fits.py`); cuts: True where it brings
        its own tokenizer. `lode check` reads these, so they are literals; what says nothing is judged when the network is made.
    joint: True where inputs with the same encoder and options are encoded together by one instance (numbers, categories);
        then `specs` has several entries and `forward` gets as many tensors.
    feature_defaults: options that the encoder wants from the feature where the user says nothing.
    training_defaults: options of `train:` that suit it where the user says nothing.
    feature_from: options of the feature that are options of the encoder (feature's word -> encoder's word), where the user wrote them.
    gives_steps: True where it has `steps(inputs) -> (h_BTD, keep_BT)`: a vector for each step, and which steps are real.
    own_weights: True where its first weights are not to be drawn anew by the network's `init` (those of a checkpoint).
    constant: True where training changes nothing in it: each row's vector is computed once.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    fits: ClassVar[tuple[tuple[str, str, Any], ...]] = ()
    cuts: ClassVar[bool] = False
    joint: ClassVar[bool] = False
    feature_defaults: ClassVar[dict[str, Any]] = {}
    training_defaults: ClassVar[dict[str, Any]] = {}
    feature_from: ClassVar[dict[str, str]] = {}
    gives_steps: ClassVar[bool] = False
    own_weights: ClassVar[bool] = False
    constant: bool = False
    width: int
    """D of the vector that `forward` returns; set in `__init__`."""

    @staticmethod
    @abstractmethod
    def accepts(spec: TensorSpec) -> bool:
        """Whether it can encode such an array."""

    def start_from(self, inputs: Sequence[torch.Tensor]) -> None:
        """Set first weights from a sample of training rows, given as `forward` gets them. Most encoders learn nothing here.

        Called once, before training. What it sets must be parameters or saved buffers, and must not depend on chance.
        """

    def wants(self) -> Mapping[str, Any]:
        """`training_defaults` of this one: its class's, or those of the encoders that it is made of."""
        return self.training_defaults

    def settle(self) -> None:
        """Put away what only training needs; called once, after it. Most encoders have nothing of the kind."""

    def portable(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with which an artifact makes it again: those it was made with, but for files that an artifact must not need."""
        return dict(options)

    def steps(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors of the steps (B, T, D), and which steps are real, bool (B, T); only where `gives_steps`."""
        raise NotImplementedError

    @abstractmethod
    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """inputs: one tensor (B, *shape) for each spec, in `spec.dtype`. Returns h_BD float32 (or the autocast dtype)."""


class Augment(torch.nn.Module, ABC):
    """Random change of a training batch, on the device, vectorised. `__init__(self, spec: TensorSpec, *, ...)`.

    Tensors that it keeps are buffers, so that they move to the device with it before the first step.
    affine: True where pictures are moved by a map that `matrix` draws: of several such changes in a row the network makes one.
    mixes: True where rows are mixed with other rows of the batch, so that the targets must be mixed too: it implements `mix`, and
        the network calls that with one permutation for all inputs, after all other changes.
    reads: features whose arrays it can take, a literal, for `lode check`.
    moves_steps: True where steps of a text or a series change places, so that a tag for each would be wrong.
    wants_words: True where it must know which word each code of a text stands for: `read_words` is called once, before training.
    ahead: True where calls cost more than the change itself, as of texts: it may get several batches as one, padded with 0 at the end.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    moves_steps: ClassVar[bool] = False
    affine: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    ahead: ClassVar[bool] = False
    wants_words: ClassVar[bool] = False

    @staticmethod
    @abstractmethod
    def accepts(spec: TensorSpec) -> bool:
        """Whether it can change such an array."""

    @abstractmethod
    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """x: (B, *shape) in the dtype of the spec, or as floats; same shape and dtype back. Randomness is from `generator` alone."""

    def matrix(self, rows: int, device: torch.device, generator: torch.Generator) -> torch.Tensor:
        """Affine maps float32 (rows, 2, 3) of `lode/model/affine.py`, one for each picture; only where `affine`."""
        raise NotImplementedError(f"{type(self).__name__} moves no pictures")

    def read_words(self, words: Sequence[str]) -> None:
        """words: by code; "" where a code stands for no word (padding, unknown)."""

    def mix(self, x: torch.Tensor, partner_B: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Row i mixed with row partner_B[i] (int64). Returns x of the same shape and dtype, and the own share, float32 () in [0, 1].

        One share holds for the whole batch: then share * loss(target) + (1 - share) * loss(target[partner]) is right for the mean
        loss of every task, whatever is inside it.
        """
        raise NotImplementedError(f"{type(self).__name__} mixes no rows")
