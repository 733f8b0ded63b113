"""Logistic and ridge regression on the flat matrix; predicted with plain numpy, saved without pickle."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy import sparse
from scipy.special import log_expit, log_softmax
from threadpoolctl import threadpool_limits

from lode.core.errors import ModelError
from lode.core.types import Range
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Part, Shapes, Task
from lode.model.design import Design
from lode.model.pace import ENDED_BY_CLOCK, FEWEST_ITERATIONS, Pace
from lode.model.pinball import fit_pinball

_PENALTIES = (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01)
_CHOICE_ROWS = 8_000
_CHOICE_FOLDS = 3
_CHOICE_SHARE = 0.6
"""Of the time for an output, that the choice of its penalty may take where there is a deadline."""


class Linear(Family):
    """Logistic regression for labels, ridge regression for numbers, quantile regression for quantiles.

    Args:
        penalty: Strength of the squared penalty on the weights, the same on all rows of any number; left open, chosen by
            cross-validation on the training rows.
        iterations: Most iterations of the solver of logistic regression.
        bayes: Whether terms of texts count by how differently the classes of labels use them in the training rows (Wang and Manning 2012,
            Baselines and bigrams, NBSVM): good for sentences, and beside a plain one in an ensemble.
    """

    needs = "flat"
    loop = False

    def __init__(
        self,
        shapes: Shapes,
        tasks: Mapping[str, Task],
        *,
        penalty: Annotated[float, Range(0, open_low=True, search=(1e-3, 1e3), log=True)] | None = None,
        iterations: Annotated[int, Range(1)] = 200,
        bayes: bool = False,
    ) -> None:
        self._tasks = tasks
        self._design = Design(shapes.flat)
        self._penalty = penalty
        self._iterations = iterations
        self._bayes = bayes
        self._weights: dict[str, np.ndarray] = {}
        self._biases: dict[str, np.ndarray] = {}

    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        """Fit every output. Stop rows are not needed: the penalty is chosen by folds of the training rows.

        Errors: ModelError where an output has no row with a target.
        """
        pace = Pace(context.deadline_s)
        self._design.fit(train.flat)
        matrix_NX = self._design.matrix(train.flat)
        choices: dict[str, Any] = {}
        waiting = sum(len(task.parts()) for task in self._tasks.values())
        for done, (name, task) in enumerate(self._tasks.items()):
            context.progress("linear", done, len(self._tasks), {})
            target = np.asarray(train.targets[name])
            rows = np.flatnonzero(task.known(target))
            if not len(rows):
                raise ModelError(f"outputs.{name}: no training row has a value, at least one is needed. Check the column")
            known_NX, known = (matrix_NX, target) if len(rows) == len(target) else (matrix_NX[rows], target[rows])
            solved = []
            for part, part_N in zip(task.parts(), task.targets(known), strict=True):
                own, waiting = pace.share(1 / waiting), waiting - 1
                suffix = f".{name}" + (f".{part.name}" if part.name else "")
                # L-BFGS takes hundreds of small steps: threads that wait for one another in each cost twenty times what they save.
                with threadpool_limits(None if part.kind == "number" else 1):
                    own.measure(known_NX, part)
                    penalty = self._penalty or self._choose(known_NX, part_N, part, context.seed, own.share(_CHOICE_SHARE))
                    solved.append(self._solve(known_NX, part_N, part, penalty, own))
                choices[f"penalty{suffix}"] = penalty
            weights, biases = zip(*solved, strict=True)
            self._weights[name], self._biases[name] = np.concatenate(weights, axis=1), np.concatenate(biases)
        return Fitted(choices=choices | ({ENDED_BY_CLOCK: True} if pace.ended else {}))

    def predict(self, examples: Examples) -> dict[str, np.ndarray]:
        """Log-odds (binary), one margin a class, or the standardised number."""
        return {
            name: (self._design.product(examples.flat, weight_XK) + self._biases[name]).astype(np.float32)
            for name, weight_XK in self._weights.items()
        }

    def cost(self) -> Cost:
        """One multiplication and one addition a weight."""
        parameters = sum(array.size for arrays in (self._weights, self._biases) for array in arrays.values())
        return Cost(parameters=parameters, flops_per_row=2 * parameters, weight_bytes=8 * parameters)

    def save(self, folder: Path) -> None:
        """Write linear.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {f"design.{name}": array for name, array in self._design.state().items()}
        for name in self._tasks:
            arrays[f"weight.{quote(name, safe='')}"] = self._weights[name]
            arrays[f"bias.{quote(name, safe='')}"] = self._biases[name]
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "linear.safetensors")

    def load(self, folder: Path) -> None:
        """Read it back."""
        arrays = load_file(folder / "linear.safetensors")
        self._design.restore({name.removeprefix("design."): array for name, array in arrays.items()})
        self._weights = {name: arrays[f"weight.{quote(name, safe='')}"] for name in self._tasks}
        self._biases = {name: arrays[f"bias.{quote(name, safe='')}"] for name in self._tasks}

    def _choose(self, matrix_NX: Any, target_N: np.ndarray, part: Part, seed: int, pace: Pace) -> float:
        """The penalty with the lowest loss on held-out folds; a sample of rows is enough to tell. As many folds as there is time for."""
        num_rows = len(target_N)
        order = np.random.default_rng(seed).permutation(num_rows)[:_CHOICE_ROWS]
        if len(order) < 2 * _CHOICE_FOLDS:
            return 1.0
        row_share = len(order) * (1 - 1 / _CHOICE_FOLDS) / num_rows
        if pace.affordable(row_share * len(_PENALTIES)) < FEWEST_ITERATIONS:
            pace.note(True)
            return 1.0
        # The penalty is a prior belief about the weights, so what is right for a sample is right for all rows.
        losses = dict.fromkeys(_PENALTIES, 0.0)
        for fold in range(_CHOICE_FOLDS):
            held, begin_s = np.arange(len(order)) % _CHOICE_FOLDS == fold, time.monotonic()
            fit_rows, held_rows = np.sort(order[~held]), np.sort(order[held])
            for place, penalty in enumerate(_PENALTIES):
                own = pace.share(1 / (len(_PENALTIES) - place))
                weight_XK, bias_K = self._solve(matrix_NX[fit_rows], target_N[fit_rows], part, penalty, own, row_share)
                losses[penalty] += _loss(matrix_NX[held_rows] @ weight_XK + bias_K, target_N[held_rows], part)
            if fold + 1 < _CHOICE_FOLDS and time.monotonic() - begin_s > pace.left_s():
                pace.note(True)
                break
        return min(losses, key=lambda penalty: losses[penalty])

    def _solve(
        self, matrix_NX: Any, target_N: np.ndarray, part: Part, penalty: float, pace: Pace, row_share: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """(weight_XK, bias_K), float64. row_share: of the rows that the pace was measured on."""
        if part.kind == "number":
            return _ridge(matrix_NX, target_N.astype(np.float64), penalty, pace, row_share)
        most = pace.iterations(row_share, self._iterations)
        if part.kind == "quantile":
            pace.note(most < self._iterations)
            return fit_pinball(matrix_NX, target_N.astype(np.float64), part.level, penalty, most)
        weight_XK, bias_K, done = self._classified(matrix_NX, target_N, part, penalty, most)
        pace.note(done >= most < self._iterations)
        return weight_XK, bias_K

    def _classified(
        self, matrix_NX: Any, target_N: np.ndarray, part: Part, penalty: float, most: int
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """As `_logistic`."""
        terms = self._design.terms
        if not self._bayes or terms.start == terms.stop:
            return _logistic(matrix_NX, target_N, part, penalty, most)
        # Scaled columns with weights are columns with scaled weights: whoever predicts need not know.
        scale_X = np.ones(matrix_NX.shape[1])
        scale_X[terms] = log_ratios(matrix_NX[:, terms], target_N)
        weight_XK, bias_K, done = _logistic(matrix_NX @ sparse.diags_array(scale_X), target_N, part, penalty, most)
        return weight_XK * scale_X[:, None], bias_K, done


def log_ratios(terms_NT: Any, target_N: np.ndarray) -> np.ndarray:
    """How differently classes use each term, float64 (T,): |log| of its share of a class's terms over its share of the others' terms.

    terms_NT: sparse; what is not 0 is there. Each term counts once more than it was seen. Of several classes the largest counts.
    """
    present_NT = (terms_NT != 0).astype(np.float64)
    count_T, ratios = 1.0 + _column_sums(present_NT), []
    for code in np.unique(target_N):
        inside_T = 1.0 + _column_sums(present_NT[target_N == code])
        outside_T = count_T - inside_T + 1.0
        ratios.append(np.abs(np.log(inside_T / inside_T.sum()) - np.log(outside_T / outside_T.sum())))
    return np.asarray(np.max(ratios, axis=0))


def _column_sums(matrix_NT: Any) -> np.ndarray:
    return np.asarray(matrix_NT.sum(axis=0)).ravel()


def _ridge(matrix_NX: Any, target_N: np.ndarray, penalty: float, pace: Pace, row_share: float) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Ridge

    if not matrix_NX.shape[1]:
        return np.zeros((0, 1)), np.atleast_1d(target_N.mean())
    # Narrow matrices are solved at once. Left to itself the solver of wide ones takes up to ten times as many steps as it has unknowns.
    most = 10 * min(matrix_NX.shape)
    iterations = pace.iterations(row_share, most) if sparse.issparse(matrix_NX) else most
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ConvergenceWarning)
        model = Ridge(alpha=penalty, tol=1e-6, max_iter=None if iterations == most else iterations).fit(matrix_NX, target_N)
    pace.note(iterations < most and any(issubclass(entry.category, ConvergenceWarning) for entry in told))
    return model.coef_.reshape(-1, 1), np.atleast_1d(np.float64(model.intercept_))


def _logistic(
    matrix_NX: Any, target_N: np.ndarray, part: Part, penalty: float, iterations: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """(weight_XK, bias_K, iterations that were done).

    Classes that do not occur in these rows (a small fold) get no weights and a small bias.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    num_classes = max(part.num_scores, 2)
    weight_N, shift_K = part.row_weights(target_N), part.shift()
    counts_C = np.maximum(np.bincount(target_N, minlength=num_classes), 0.5)
    weight_XC = np.zeros((matrix_NX.shape[1], num_classes))
    bias_C = np.log(counts_C / counts_C.sum())
    present, done = np.unique(target_N), 0
    if len(present) > 1 and matrix_NX.shape[1]:
        with warnings.catch_warnings():
            # An unfinished solution of a baseline is still a baseline; the iterations are an option.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=1.0 / penalty, max_iter=iterations).fit(matrix_NX, target_N, weight_N)
        done = int(model.n_iter_.max())
        if len(present) == 2:
            weight_XC[:, present] = np.stack([np.zeros(matrix_NX.shape[1]), model.coef_[0]], axis=1)
            bias_C[present] = (0.0, model.intercept_[0])
        else:
            weight_XC[:, present] = model.coef_.T
            bias_C[present] = model.intercept_
        absent = np.setdiff1d(np.arange(num_classes), present)
        bias_C[absent] = bias_C[present].min() + np.log(0.5 / len(target_N))
    if part.num_scores == 1:
        weight_XC, bias_C = weight_XC[:, 1:] - weight_XC[:, :1], bias_C[1:] - bias_C[:1]
    return weight_XC, bias_C if shift_K is None else bias_C - shift_K, done


def _loss(scores_NK: np.ndarray, target_N: np.ndarray, part: Part) -> float:
    if part.kind == "number":
        return float(((scores_NK[:, 0] - target_N) ** 2).sum())
    if part.kind == "quantile":
        short_N = target_N - scores_NK[:, 0]
        return float(np.maximum(part.level * short_N, (part.level - 1) * short_N).sum())
    if part.num_scores == 1:
        return -float(log_expit(np.where(target_N == 1, 1.0, -1.0) * scores_NK[:, 0]).sum())
    return -float(np.take_along_axis(log_softmax(scores_NK, axis=1), target_N[:, None], axis=1).sum())
