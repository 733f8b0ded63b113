"""Gradient-boosted trees by LightGBM, with defaults that depend on the number of rows and columns.

Saved in LightGBM's text format.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import lightgbm
import numpy as np
from scipy import sparse

from lode.core.errors import ModelError
from lode.core.types import Range
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Progress, Shapes, Task

_MOST_THREADS = 16
_CELLS_A_THREAD = 500_000
_FOLD_ROWS = 5_000
_SMALL_BATCH = 1_000
_MOST_ROUNDS, _FEWEST_ROUNDS = 2_000, 100
_MOST_CELLS = 3e9
"""About ten seconds of one core."""
_PARAMETERS = re.compile(r"\nparameters:.*?end of parameters\n", re.DOTALL)


class Trees(Family):
    """Gradient-boosted decision trees.

    Args:
        rounds: Most boosting rounds, the loss on the stop rows usually ends training sooner; left open, 2000, fewer where a round is dear.
        learning_rate: How much of each tree is added; left open, 0.05, more where the rounds are fewer.
        leaves: Most leaves of a tree; left open, by the number of rows (6 to 31).
        min_rows: Fewest rows in a leaf; left open, by the number of rows (8 to 25).
        row_share: Share of the rows that each tree sees.
        column_share: Share of the columns that each tree sees; left open, by the number of columns (0.8 to 0.3).
        penalty: Squared penalty on the values of leaves.
        patience: Rounds without a better loss on the stop rows after which training ends.
    """

    needs = "flat"
    loop = False

    def __init__(
        self,
        shapes: Shapes,
        tasks: Mapping[str, Task],
        *,
        rounds: Annotated[int, Range(1)] | None = None,
        learning_rate: Annotated[float, Range(0, 1, open_low=True)] | None = None,
        leaves: Annotated[int, Range(2)] | None = None,
        min_rows: Annotated[int, Range(1)] | None = None,
        row_share: Annotated[float, Range(0, 1, open_low=True)] = 0.8,
        column_share: Annotated[float, Range(0, 1, open_low=True)] | None = None,
        penalty: Annotated[float, Range(0)] = 5.0,
        patience: Annotated[int, Range(1)] = 60,
    ) -> None:
        self._flat = shapes.flat
        self._tasks = tasks
        self._rounds, self._learning_rate, self._patience = rounds, learning_rate, patience
        self._leaves, self._min_rows, self._penalty = leaves, min_rows, penalty
        self._row_share, self._column_share = row_share, column_share
        self._texts: dict[str, str] = {}
        self._boosters: dict[str, lightgbm.Booster] = {}

    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        """Boost every output. Without stop rows and without `context.rounds`, folds of the training rows decide on the rounds.

        `Fitted.rounds` is the mean over outputs. The number of threads changes nothing but the time.
        Errors: ModelError where an output has no row with a target.
        """
        choices: dict[str, Any] = {}
        histories: list[Mapping[str, float]] = []
        for name, task in self._tasks.items():
            matrix_NF, target_N = _known(name, task, train)
            params = self._params(matrix_NF, task, context.seed)
            held = None if stop is None or context.rounds is not None else _known(name, task, stop)
            most = self._most_rounds(matrix_NF, task)
            report = _Report(context.progress, context.rounds or most)
            booster, rounds = self._boost(params, (matrix_NF, target_N), held, most, context, report)
            self._keep(name, booster.model_to_string(num_iteration=rounds))
            histories += report.history
            choices |= {
                f"{key}.{name}": params[key] for key in ("num_leaves", "min_data_in_leaf", "feature_fraction", "num_threads")
            }
            choices[f"rounds.{name}"] = rounds
        mean = sum(choices[f"rounds.{name}"] for name in self._tasks) / len(self._tasks)
        return Fitted(rounds=max(1, round(mean)), history=tuple(histories), choices=choices)

    def predict(self, examples: Examples) -> dict[str, np.ndarray]:
        """Log-odds (binary), one margin a class, or the standardised number; the same for a row in any batch."""
        scores = {}
        for name, booster in self._boosters.items():
            num_scores = self._tasks[name].num_scores
            if examples.num_rows == 0:
                scores[name] = np.empty((0, num_scores), dtype=np.float32)
                continue
            threads = 1 if examples.num_rows < _SMALL_BATCH else _threads(examples.num_rows * len(self._flat.names))
            raw = booster.predict(_matrix(examples.flat), raw_score=True, num_threads=threads)
            scores[name] = np.asarray(raw, dtype=np.float32).reshape(examples.num_rows, num_scores)
        return scores

    def cost(self) -> Cost:
        """Leaves and inner nodes; one comparison a level and one addition a tree."""
        leaves = [int(count) for text in self._texts.values() for count in re.findall(r"^num_leaves=(\d+)$", text, re.MULTILINE)]
        return Cost(
            parameters=sum(2 * count - 1 for count in leaves),
            flops_per_row=sum(math.ceil(math.log2(max(count, 2))) + 1 for count in leaves),
            weight_bytes=sum(len(text) for text in self._texts.values()),
        )

    def save(self, folder: Path) -> None:
        """Write trees-<output>.txt for each output, without training parameters: same trees, same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self._texts.items():
            (folder / _file_name(name)).write_bytes(text.encode())

    def load(self, folder: Path) -> None:
        """Read them back."""
        for name in self._tasks:
            self._keep(name, (folder / _file_name(name)).read_bytes().decode())

    def _keep(self, name: str, text: str) -> None:
        # Predicting from the text even before it was saved makes a loaded model the same model.
        self._texts[name] = _PARAMETERS.sub("\n", text)
        self._boosters[name] = lightgbm.Booster(model_str=self._texts[name])

    def _boost(
        self,
        params: dict[str, Any],
        train: tuple[Any, np.ndarray],
        held: tuple[Any, np.ndarray] | None,
        most: int,
        context: Context,
        report: _Report,
    ) -> tuple[lightgbm.Booster, int]:
        """The booster and how many of its rounds to keep."""
        rounds = context.rounds
        if rounds is None and held is None:
            rounds = self._search(params, train, most, context.seed)
        data = self._dataset(train, params)
        if rounds is not None:
            return lightgbm.train(params, data, rounds, callbacks=[report]), rounds
        assert held is not None, "rounds are known where no rows are held out"
        early = lightgbm.early_stopping(self._patience, verbose=False)
        held_data = self._dataset(held, params, reference=data)
        booster = lightgbm.train(params, data, most, valid_sets=[held_data], callbacks=[early, report])
        return booster, max(1, booster.best_iteration)

    def _search(self, params: dict[str, Any], train: tuple[Any, np.ndarray], most: int, seed: int) -> int:
        """The best number of rounds on held-out rows: five folds of few rows, one seventh of many."""
        num_rows = len(train[1])
        part_N = np.random.default_rng(seed).permutation(num_rows) % (5 if num_rows < _FOLD_ROWS else 7)
        parts = range(5) if num_rows < _FOLD_ROWS else range(1)
        folds = [(np.flatnonzero(part_N != part), np.flatnonzero(part_N == part)) for part in parts]
        if any(len(held) == 0 for _, held in folds):
            return min(most, 20)
        early = lightgbm.early_stopping(self._patience, verbose=False)
        data = self._dataset(train, params)
        curves = lightgbm.cv(params, data, most, folds=folds, callbacks=[early])
        losses = curves[f"valid {params['metric']}-mean"]
        assert isinstance(losses, list), "only the booster is no list"
        return max(1, len(losses))

    def _dataset(
        self, rows: tuple[Any, np.ndarray], params: dict[str, Any], reference: lightgbm.Dataset | None = None
    ) -> lightgbm.Dataset:
        categories = [place for place, cardinality in enumerate(self._flat.cardinalities) if cardinality > 0]
        return lightgbm.Dataset(
            rows[0], rows[1], categorical_feature=categories, params=params, reference=reference, free_raw_data=False
        )

    def _affordable(self, matrix_NF: Any, task: Task) -> float:
        """Rounds that look at so many cells as a baseline may: a tree for each class looks at every (stored) cell once."""
        num_cells = matrix_NF.nnz if sparse.issparse(matrix_NF) else matrix_NF.size
        return min(_MOST_ROUNDS, max(_FEWEST_ROUNDS, _MOST_CELLS / max(1, num_cells * task.num_scores)))

    def _most_rounds(self, matrix_NF: Any, task: Task) -> int:
        return self._rounds or int(self._affordable(matrix_NF, task))

    def _params(self, matrix_NF: Any, task: Task, seed: int) -> dict[str, Any]:
        """LightGBM's parameters. The rules were tried on seven public tables of 569 to 48,842 rows."""
        num_rows, num_columns = matrix_NF.shape
        # Fewer rounds have to go further each; smooth in the number of rows, so that a refit on some more rows is alike.
        learning_rate = self._learning_rate or 0.05 * math.sqrt(_MOST_ROUNDS / self._affordable(matrix_NF, task))
        has_terms = min(self._flat.cardinalities, default=0) < 0
        return {
            **_objective(task),
            "learning_rate": learning_rate,
            "num_leaves": self._leaves or min(max(num_rows // 100, 6), 15 if has_terms else 31),
            "min_data_in_leaf": self._min_rows or min(max(num_rows // 1000, 8), 25),
            "feature_fraction": self._column_share or _column_share(num_columns, has_terms),
            "bagging_fraction": self._row_share,
            "bagging_freq": 1 if self._row_share < 1 else 0,
            "lambda_l2": self._penalty,
            "max_bin": 63 if has_terms else 255,
            "seed": seed % 2**31,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": _threads(num_rows * num_columns),
            "verbosity": -1,
        }


class _Report:
    """Callback of LightGBM: tells progress, keeps the loss on the stop rows."""

    order = 40

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._told = progress, total, 0.0
        self.history: list[Mapping[str, float]] = []

    def __call__(self, env: lightgbm.callback.CallbackEnv) -> None:
        figures = {"loss": float(env.evaluation_result_list[0][2])} if env.evaluation_result_list else {}
        if figures and env.iteration % 10 == 9:
            self.history.append({"round": env.iteration + 1, **figures})
        if time.monotonic() - self._told > 0.5:
            self._told = time.monotonic()
            self._progress("trees", env.iteration + 1, self._total, figures)


def _objective(task: Task) -> dict[str, Any]:
    if task.kind == "number":
        return {"objective": "regression", "metric": "l2"}
    if task.num_scores == 1:
        return {"objective": "binary", "metric": "binary_logloss"}
    return {"objective": "multiclass", "metric": "multi_logloss", "num_class": task.num_scores}


def _column_share(num_columns: int, has_terms: bool) -> float:
    if has_terms:
        return 0.3
    if num_columns <= 10:
        return 0.8
    return 0.6 if num_columns <= 16 else 0.45


def _threads(num_cells: int) -> int:
    """Threads that pay for so many cells; their number changes nothing but the time."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(available, _MOST_THREADS, num_cells // _CELLS_A_THREAD))


def _known(name: str, task: Task, examples: Examples) -> tuple[Any, np.ndarray]:
    """Matrix and targets of the rows that have a target."""
    target_N = np.asarray(examples.targets[name])
    rows = np.flatnonzero(np.isfinite(target_N) if task.kind == "number" else target_N >= 0)
    if not len(rows):
        raise ModelError(f'output "{name}": no training or stop row has a value, at least one is needed. Check the column')
    matrix_NF = _matrix(examples.flat)
    return (matrix_NF, target_N) if len(rows) == len(target_N) else (matrix_NF[rows], target_N[rows])


def _matrix(flat: Any) -> Any:
    """The matrix as LightGBM takes it; one column of zeros where there is none."""
    if flat.shape[1] == 0:
        return np.zeros((flat.shape[0], 1), dtype=np.float32)
    return flat if sparse.issparse(flat) else np.ascontiguousarray(flat, dtype=np.float32)


def _file_name(output: str) -> str:
    return f"trees-{quote(output, safe='')}.txt"
