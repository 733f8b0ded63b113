"""The contracts of the model layer: family, encoder, task, metric, augment. Arrays in, arrays out; no files but a family's own folder.

Shape letters: N rows, B batch, D width, K scores of one output, F flat columns.
Encoders and augmentations are torch modules; their bases live in `lode/model/modules.py`, so that this file loads no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from lode.core.types import ColumnSchema, Component, FlatSpec, TensorSpec

if TYPE_CHECKING:
    import torch

State = dict[str, Any]
"""JSON values and numpy arrays, nested in dicts and lists."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """What a family knows before it sees a row: positional, from the platform.

    encoders, augments: what the user chose under an input; an input that is missing there gets the default.
    words: per input whose augmentation asks for them (`wants_words`), what each code stands for.
    """

    inputs: Mapping[str, TensorSpec]
    flat: FlatSpec
    encoders: Mapping[str, Component] = field(default_factory=dict)
    augments: Mapping[str, tuple[Component, ...]] = field(default_factory=dict)
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows as arrays. Arrays may be memory-mapped: never copy them whole without need.

    arrays: per input, (N, *spec.shape). Empty where the family needs only `flat`.
    flat: float32 (N, F) or scipy CSR; None where the family needs only `arrays`.
    targets: per output, as its task encoded them: int64 codes (N, ...) or float32 (N, ...). Empty when predicting.
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
    deadline_s: seconds that are left for the fit, or None; a loop plans its steps by it and stops at it with the best state so far.
    log_folder: where `train.log` writes; None where nothing is kept.
    unlabelled: rows without targets that `train.pretrain` may learn from, beside the training rows.
    team: the processes that fit together, as a `lode.model.parallel.Team`; None is this process alone.
    watch: called by the loop with each epoch's number and its loss on the stop rows; where it says True, the fit ends. Of several
        processes that fit together, the first one has it.
    survey: called by the loop before anything is measured or trained, with the job, the choices, the options and a function that tries
        so many steps (`lode/model/planning/survey.py`); where it gives a Fitted, that is all that happens. Not in other processes.
    """

    seed: int = 0
    folder: Path | None = None
    rounds: int | None = None
    device: str = "cpu"
    training: Any = None
    progress: Progress = no_progress
    deadline_s: float | None = None
    log_folder: Path | None = None
    unlabelled: Examples | None = None
    team: Any = None
    watch: Callable[[int, float], bool] | None = None
    survey: Callable[..., Fitted | None] | None = None


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


@dataclass(frozen=True, slots=True)
class Part:
    """One plain problem of a task for families that know regression and classification only.

    kind: "number" (squared error), "binary" (a logit), "multiclass" (num_scores logits) or "quantile" (pinball loss at `level`);
        targets are float32 for "number" and "quantile", else int64 codes; NaN or -1 where unknown.
    name: tells the parts of one task apart; empty where there is one.
    weights: per class, how much a row of it counts; what is learnt under them is put back to the true rates by `shift`.
    """

    kind: Literal["number", "binary", "multiclass", "quantile"]
    num_scores: int = 1
    name: str = ""
    level: float = 0.5
    weights: tuple[float, ...] | None = None

    def row_weights(self, target_N: np.ndarray) -> np.ndarray | None:
        """float64 (N,): the weight of each row's class; None where all count the same."""
        return None if self.weights is None else np.asarray(self.weights)[target_N]

    def shift(self) -> np.ndarray | None:
        """(num_scores,): what to subtract from scores that were learnt under `weights` (Elkan 2001, theorem 2)."""
        if self.weights is None:
            return None
        logs = np.log(np.asarray(self.weights))
        return logs[1:] - logs[:1] if self.kind == "binary" else logs


class Task(ABC):
    """One output: how its values are encoded, its loss, and how scores become answers. `__init__(self, *, ...)`.

    Scores are float32 (N, K): binary K = 1 logit; multiclass K = classes logits; number K = 1 standardised value. Where `steps` is True
    they are (N, T, K), NaN at the steps that a row has not. The file loads no torch at import; `loss` gets tensors and may import torch
    inside. The platform asks a task what it can and never what it is; the methods that are not abstract suit one label or one number a row.
    """

    metrics: ClassVar[tuple[str, ...]]
    """Words of lode/model/metrics; the first one selects models."""
    kind: ClassVar[Literal["classes", "number", "labels", "quantiles", "tags", "anomaly", "vector", "relevance"]]
    """What an answer is; the report shows what suits it (lode/pipeline/kinds.py)."""
    cells: ClassVar[Literal["words", "numbers", "lists", "flags"]] = "words"
    """How the data keep the output's column: words as they stand, numbers, several words in one text, or marks that may be absent."""
    steps: ClassVar[bool] = False
    """True where every step of one ragged input gets scores, so that an encoder with `steps` is needed."""
    baselines: ClassVar[tuple[str, ...]] = ("constant", "linear", "trees")
    """Words of lode/model/families that can fit it cheaply: trained beside every model (promise 5)."""
    networks: ClassVar[tuple[str, ...]] = ()
    """Words of families that `model: auto` tries beside the baselines; empty for those that it tries by default."""
    separator: str = " "
    """What parts the words of one cell where `cells` is "lists"."""
    num_steps: int = 0
    """T of the scores; 0 without steps."""
    of: str | None = None
    """The input whose steps get scores; None where there is one."""
    group: str | None = None
    """A column that says which rows are judged together; its groups are the second column of values and targets."""
    together: ClassVar[int] = 0
    """How many rows of one label or group a training batch keeps side by side (see `company`); 0: no matter."""

    @abstractmethod
    def fit(self, values: np.ndarray) -> None:
        """Learn classes or mean and spread from training values: object array of str/float/bool/None, or floats.

        Errors: DataError where there is nothing to learn (one class only, no number) or a named class never occurs.
        """

    @abstractmethod
    def encode(self, values: np.ndarray) -> np.ndarray:
        """int64 (N, ...) codes or float32 (N, ...); -1 or NaN for a label that training never saw or that is missing."""

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
        """Answers: "" -> the label or number (object or float64 array), "probability.<class>" -> float64 (N,).

        An object array may hold lists: of labels, of tags, of numbers.
        """

    @abstractmethod
    def state(self) -> State: ...

    @abstractmethod
    def restore(self, state: State) -> None: ...

    def known(self, target: np.ndarray) -> np.ndarray:
        """Which rows have an encoded target that training saw, bool (N,): of several numbers all, of several codes any."""
        known = target >= 0 if target.dtype.kind in "iu" else np.isfinite(target)
        axes = tuple(range(1, known.ndim))
        return np.asarray(known.any(axis=axes) if target.dtype.kind in "iu" else known.all(axis=axes)) if axes else known

    def natural(self, target: np.ndarray) -> np.ndarray:
        """Encoded targets as metrics read them beside `figures`; codes as they are, numbers in the data's unit."""
        return target

    def truth(self, values: np.ndarray) -> np.ndarray:
        """Values of the data as metrics read them. values: as `encode` takes them."""
        return self.natural(self.encode(values))

    def figures(self, scores_NK: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """What metrics and policies read, float64: P(positive) (N,), P (N, K), numbers (N,), or what the task's own metrics want."""
        answers = self.decode(scores_NK, temperature)
        names = self.classes if len(self.classes) != 2 or self.num_scores != 1 else self.classes[1:]
        if not names:
            return np.asarray(answers[""], np.float64)
        found = [np.asarray(answers[f"probability.{name}"], np.float64) for name in names]
        return found[0] if len(found) == 1 else np.stack(found, axis=1)

    def answers(self) -> tuple[ColumnSchema, ...]:
        """Columns of a prediction, named as in `decode`; `type` "" stands for the task's own word."""
        first = ColumnSchema("", "", "string", "a class") if self.classes else ColumnSchema("", "", "number", "a number")
        shares = [ColumnSchema(f"probability.{word}", "probability", "number", "a number from 0 to 1") for word in self.classes]
        return (first, *shares)

    def trials(self, scores_NK: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Scores (M, C) and codes (M,) on which a temperature is fitted; None where there are no probabilities."""
        return (scores_NK, target) if self.classes else None

    def levels(self) -> tuple[float, ...] | None:
        """The chance that each score (K,), sorted, promises to lie above the truth, so that it can be held to it; None: no such promise."""
        return None

    def strata(self, target: np.ndarray) -> np.ndarray:
        """One value a row by which rows are divided alike, and that features may learn from: codes int64 or numbers float32 (N,)."""
        return target

    def company(self, target: np.ndarray) -> np.ndarray:
        """The label or group of each row (N,), by which `together` rows are kept side by side."""
        return target

    def worth(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Codes int64 (N,) of relevance and what each code is worth (C,), for families that learn an order within `company`.

        None where rows are not ranked, or relevance has no few levels: then `parts` say what is fitted. target: known rows only.
        """
        return None

    def prior(self, target: np.ndarray) -> np.ndarray:
        """Scores (K,) float32 of the best answer that looks at nothing. target: known rows only."""
        if target.dtype.kind == "f":
            return np.array([target.mean(dtype=np.float64)], dtype=np.float32)
        # A class without a row (a small fold) counts as half a row, so that its logarithm stays finite.
        counts_K = np.maximum(np.bincount(target, minlength=max(self.num_scores, 2)), 0.5)
        if self.num_scores == 1:
            return np.array([np.log(counts_K[1] / counts_K[0])], dtype=np.float32)
        return np.log(counts_K / counts_K.sum()).astype(np.float32)

    def start(self, target: np.ndarray) -> np.ndarray | None:
        """Scores (K,) float32 from which a network's last bias starts; None leaves it to chance. target: known rows only."""
        if target.dtype.kind == "f":
            return None
        size = max(2, self.num_scores)
        rates = (np.bincount(target, minlength=size) + 1.0) / (len(target) + size)
        return (np.log(rates[1:] / rates[:1]) if self.num_scores == 1 else np.log(rates)).astype(np.float32)

    def parts(self) -> tuple[Part, ...]:
        """The plain problems that families on the flat matrix solve for it; their scores side by side are the task's."""
        if not self.classes:
            return (Part("number"),)
        return (Part("binary"),) if self.num_scores == 1 else (Part("multiclass", self.num_scores),)

    def targets(self, target: np.ndarray) -> Sequence[np.ndarray]:
        """The target (N,) of each of `parts`, as `lode.model.contracts.Part` wants it."""
        return (target,)


class Metric(ABC):
    """One figure of merit of rows whose target is known. It defines `units` (and `of`), or `compute`.

    prediction: what `Task.figures` gives: P(positive) (N,), P (N, K), numbers (N,), ...; target: codes or numbers (N, ...), as
    `Task.natural` gives them. `bootstrap.figure` leaves the other rows out and answers NaN of none.
    """

    higher_is_better: ClassVar[bool]
    grouped: ClassVar[bool] = False
    """True where a unit is a group of rows; weights then only say which rows count."""

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray | None:
        """Sums (U, S) of each independent unit (a row, a group of rows) from which `of` makes the figure; None where it is no such figure.

        With them a bootstrap draws units and adds, instead of measuring every draw anew.
        """
        return None

    def of(self, sums_S: np.ndarray) -> float:
        """The figure from the added sums of units: the first over the second; NaN where there is nothing to divide by."""
        return float(sums_S[0]) / float(sums_S[1]) if sums_S[1] > 0 else float("nan")

    def compute(self, prediction: np.ndarray, target: np.ndarray, weight_N: np.ndarray) -> float:
        """The figure over these rows, one at least, each as often as it weighs; NaN where it is undefined (AUC of one class)."""
        units_US = self.units(prediction, target)
        if units_US is None:
            raise NotImplementedError(f"{type(self).__name__} defines neither units nor compute")
        return self.of((units_US if self.grouped else weight_N[:, None] * units_US).sum(axis=0))


class Family(ABC):
    """Something that can be fitted. `__init__(self, shapes: Shapes, tasks: Mapping[str, Task], *, ...)`."""

    kinds: ClassVar[tuple[str, ...]] = ("classes", "number", "labels", "quantiles", "relevance")
    """Kinds of tasks (`Task.kind`) that it can learn: all whose `parts` are plain problems, unless it says otherwise."""
    needs: ClassVar[Literal["arrays", "flat", "tokens", "nothing"]]
    """Which part of Examples it reads; the other may be empty. "nothing" where the model is somebody else's and is only served."""
    loop: ClassVar[bool]
    """True where the training loop fits it, so that `train:` options apply."""
    aside: ClassVar[bool] = False
    """True where a second thread may fit it while the first fits another model: it draws from no shared generator, sets no shared number
    of threads, and its result does not depend on how many it gets."""
    training_defaults: ClassVar[dict[str, Any]] = {}
    """Options of `train:` that suit it where the user says nothing; for families with a loop."""

    @abstractmethod
    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        """Fit; `stop` rows decide when to stop and which state is kept. With `context.rounds` there are no stop rows.

        Deterministic under `context.seed`. Resumes from `context.folder` if it was killed there, with the same result bit for bit.
        Errors: ModelError (a NaN loss names batch and layer).
        """

    @abstractmethod
    def predict(self, examples: Examples) -> dict[str, np.ndarray]:
        """Scores per output, float32 (N, K), or (N, T, K) of tasks with steps."""

    @abstractmethod
    def cost(self) -> Cost:
        """What it takes; known after fitting (or building)."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the fitted state: safetensors, JSON, or LightGBM's text. Same state, same bytes."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read it back."""
