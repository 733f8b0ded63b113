"""The contracts of the model layer: family, encoder, task, metric, augment. Arrays in, arrays out; no files but a family's own folder.

Shape letters: N rows, B batch, D width, K scores of one output, F flat columns.
Encoders and augmentations are torch modules; their bases live in `lode/model/modules.py`, so that this file loads no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from lode.core.types import Component, FlatSpec, TensorSpec

if TYPE_CHECKING:
    import torch

State = dict[str, Any]
"""JSON values and numpy arrays, nested in dicts and lists."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """What a family knows before it sees a row: positional, from the platform.

    encoders, augments: what the user chose under an input; an input that is missing there gets the default.
    """

    inputs: Mapping[str, TensorSpec]
    flat: FlatSpec
    encoders: Mapping[str, Component] = field(default_factory=dict)
    augments: Mapping[str, tuple[Component, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows as arrays. Arrays may be memory-mapped: never copy them whole without need.

    arrays: per input, (N, *spec.shape). Empty where the family needs only `flat`.
    flat: float32 (N, F) or scipy CSR; None where the family needs only `arrays`.
    targets: per output, as its task encoded them: int64 codes (N,) or float32 (N,). Empty when predicting.
    """

    num_rows: int
    arrays: Mapping[str, np.ndarray]
    flat: Any
    targets: Mapping[str, np.ndarray] = field(default_factory=dict)

    def take(self, index: np.ndarray) -> Examples:
        """The rows at `index` (int64), copied."""
        pick = {name: array[index] for name, array in self.arrays.items()}
        flat = None if self.flat is None else self.flat[index]
        return Examples(len(index), pick, flat, {name: array[index] for name, array in self.targets.items()})


Progress = Callable[[str, int, int, dict[str, float]], None]
"""progress(what, done, total, figures): called at most a few times a second; the command line draws a bar from it."""


def no_progress(what: str, done: int, total: int, figures: dict[str, float]) -> None:
    """Says nothing."""


@dataclass(frozen=True, slots=True)
class Context:
    """Where and how a family is fitted.

    seed: everything random derives from it.
    folder: a place of its own for checkpoints; None means that nothing is kept and a killed fit starts again.
    rounds: fit exactly so many rounds (boosting rounds, epochs), without stop rows; None lets the family decide.
    device: "cpu", "cuda", ...
    training: the user's `train:` options as a `lode.model.training.Training`; families without a loop ignore it.
    """

    seed: int = 0
    folder: Path | None = None
    rounds: int | None = None
    device: str = "cpu"
    training: Any = None
    progress: Progress = no_progress


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit did. rounds: the best number of rounds or epochs (what `Context.rounds` takes to fit again on all rows)."""

    rounds: int | None = None
    history: tuple[Mapping[str, float], ...] = ()
    choices: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cost:
    """Per fitted model: number of parameters, floating-point operations of one row, bytes of the weights."""

    parameters: int
    flops_per_row: int
    weight_bytes: int


class Task(ABC):
    """One output: how its values are encoded, its loss, and how scores become answers. `__init__(self, *, ...)`.

    Scores are always float32 (N, K): binary K = 1 logit; multiclass K = classes logits; number K = 1 standardised value.
    The file loads no torch at import; `loss` gets tensors and may import torch inside.
    """

    metrics: ClassVar[tuple[str, ...]]
    """Words of lode/model/metrics; the first one selects models."""
    kind: ClassVar[Literal["classes", "number"]]

    @abstractmethod
    def fit(self, values: np.ndarray) -> None:
        """Learn classes or mean and spread from training values: object array of str/float/bool/None, or floats.

        Errors: DataError where there is nothing to learn (one class only, no number) or a named class never occurs.
        """

    @abstractmethod
    def encode(self, values: np.ndarray) -> np.ndarray:
        """int64 (N,) codes or float32 (N,); -1 or NaN for a label that training never saw or that is missing."""

    @property
    @abstractmethod
    def num_scores(self) -> int:
        """K."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Class names in code order; empty for numbers. For binary (negative, positive)."""

    @abstractmethod
    def loss(self, scores_BK: torch.Tensor, target_B: torch.Tensor) -> torch.Tensor:
        """Mean loss of a batch, a scalar tensor."""

    @abstractmethod
    def decode(self, scores_NK: np.ndarray, temperature: float = 1.0) -> dict[str, np.ndarray]:
        """Answers: "" -> the label or number (object or float64 array), "probability.<class>" -> float64 (N,)."""

    @abstractmethod
    def state(self) -> State: ...

    @abstractmethod
    def restore(self, state: State) -> None: ...

    def known(self, target: np.ndarray) -> np.ndarray:
        """Which encoded targets are labels that training saw, bool (N,)."""
        return target >= 0 if self.kind == "classes" else np.isfinite(target)


class Metric(ABC):
    """One figure of merit. prediction: what `Task.decode` makes numeric: P(positive) (N,), P (N, K), or numbers (N,)."""

    higher_is_better: ClassVar[bool]

    @abstractmethod
    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. target: codes (N,) or numbers (N,); weight: float64 (N,)."""

    @abstractmethod
    def compute(self) -> float:
        """The figure over all rows added; NaN where it is undefined (AUC of one class)."""


class Family(ABC):
    """Something that can be fitted. `__init__(self, shapes: Shapes, tasks: Mapping[str, Task], *, ...)`."""

    needs: ClassVar[Literal["arrays", "flat"]]
    """Which part of Examples it reads; the other may be empty."""
    loop: ClassVar[bool]
    """True where the training loop fits it, so that `train:` options apply."""

    @abstractmethod
    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        """Fit; `stop` rows decide when to stop and which state is kept. With `context.rounds` there are no stop rows.

        Deterministic under `context.seed`. Resumes from `context.folder` if it was killed there, with the same result bit for bit.
        Errors: ModelError (a NaN loss names batch and layer).
        """

    @abstractmethod
    def predict(self, examples: Examples) -> dict[str, np.ndarray]:
        """Scores per output, float32 (N, K)."""

    @abstractmethod
    def cost(self) -> Cost:
        """What it takes; known after fitting (or building)."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the fitted state: safetensors, JSON, or LightGBM's text. Same state, same bytes."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read it back."""
