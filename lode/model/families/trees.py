"""Gradient-boosted trees by LightGBM, with defaults that depend on the number of rows and columns.

Saved in LightGBM's text format.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

import lightgbm
import numpy as np
from safetensors.numpy import load_file, save_file
from scipy import sparse

from lode.core.errors import ModelError
from lode.core.types import Range
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Part, Progress, Shapes, Task
from lode.model.losses import true_rates
from lode.model.pace import ENDED_BY_CLOCK
from lode.model.planning.table import Outlook
from lode.model.planning.table import trees as outlook_of

_MOST_THREADS = 16
_CELLS_A_THREAD = 500_000
_FOLD_ROWS = 5_000
_SMALL_BATCH = 1_000
_MOST_ROUNDS, _FEWEST_ROUNDS = 2_000, 100
_MOST_IN_GROUP = 10_000
"""Rows that LightGBM ranks against each other; larger groups are fitted row by row."""
_MOST_CELLS = 3e9
"""About ten seconds of one core."""
_STORED = 10
"""Cells of a dense matrix that take a round as long as a stored cell of a sparse one (20 to 36 ns, docs/experiments.md)."""
_Place = tuple[str, int]
"""An output and the number of its part."""
_TOLD = ("num_leaves", "min_data_in_leaf", "feature_fraction", "num_threads")
_OFFSETS = "trees-offsets.safetensors"
"""Only where classes are weighted: what puts the scores back to the true rates."""
_PARAMETERS = re.compile(r"\nparameters:.*?end of parameters\n", re.DOTALL)


class _Rows(NamedTuple):
    """Rows with a known target. matrix: dense or sparse (N, F). sizes: rows of each group (G,), one after the other, where they are ranked.

    gains: what each code of the target is worth then.
    """

    matrix: Any
    target: np.ndarray
    sizes: np.ndarray | None = None
    gains: np.ndarray | None = None


class Trees(Family):
    """Gradient-boosted decision trees; the order within groups is learnt by LambdaMART (Burges 2010, MSR-TR-2010-82).

    Args:
        rounds: Most boosting rounds, the loss on the stop rows usually ends training sooner; left open, 2000, fewer where a round is dear.
        learning_rate: How much of each tree is added; left open, 0.05, more where the rounds are fewer.
        leaves: Most leaves of a tree; left open, by the number of rows (6 to 31).
        min_rows: Fewest rows in a leaf; left open, by the number of rows (8 to 25).
        row_share: Share of the rows that each tree sees.
        column_share: Share of the columns that each tree sees; left open, by the number of columns (0.8 to 0.3).
        penalty: Squared penalty on the values of leaves.
        patience: Rounds without a better loss on the stop rows after which training ends.
        random_splits: Try one random threshold for each column instead of all: less bound to these rows (Geurts 2006, extra trees).
    """

    needs = "flat"
    loop = False
    aside = True

    def __init__(
        self,
        shapes: Shapes,
        tasks: Mapping[str, Task],
        *,
        rounds: Annotated[int, Range(1)] | None = None,
        learning_rate: Annotated[float, Range(0, 1, open_low=True, search=(0.01, 0.3), log=True)] | None = None,
        leaves: Annotated[int, Range(2, search=(2, 256), log=True)] | None = None,
        min_rows: Annotated[int, Range(1, search=(2, 100), log=True)] | None = None,
        row_share: Annotated[float, Range(0, 1, open_low=True, search=(0.4, 1.0))] = 0.8,
        column_share: Annotated[float, Range(0, 1, open_low=True, search=(0.2, 1.0))] | None = None,
        penalty: Annotated[float, Range(0, search=(0.01, 100.0), log=True)] = 5.0,
        patience: Annotated[int, Range(1)] = 60,
        random_splits: bool = False,
    ) -> None:
        self._flat = shapes.flat
        self._tasks = tasks
        self._rounds, self._learning_rate, self._patience = rounds, learning_rate, patience
        self._leaves, self._min_rows, self._penalty = leaves, min_rows, penalty
        self._row_share, self._column_share, self._random_splits = row_share, column_share, random_splits
        self._texts: dict[_Place, str] = {}
        self._boosters: dict[_Place, lightgbm.Booster] = {}
        self._offsets: dict[_Place, np.ndarray] = {}

    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        """Boost every output. Without stop rows and without `context.rounds`, folds of the training rows decide on the rounds.

        `Fitted.rounds` is the mean over outputs. The number of threads changes nothing but the time.
        Errors: ModelError where an output has no row with a target.
        """
        choices: dict[str, Any] = {}
        histories: list[Mapping[str, float]] = []
        kept: list[int] = []
        ended = False
        end_s = None if context.deadline_s is None else time.monotonic() + context.deadline_s
        waiting = sum(len(task.parts()) for task in self._tasks.values())
        for name, task in self._tasks.items():
            learnt = _known(name, task, train)
            held = None if stop is None or context.rounds is not None else _known(name, task, stop)
            for number, part in enumerate(task.parts()):
                rows, suffix = learnt[number], f".{name}" + (f".{part.name}" if part.name else "")
                params = self._params(rows, part, context.seed)
                most = self._most_rounds(rows.matrix, part)
                deadline_s, waiting = None if end_s is None else (end_s - time.monotonic()) / waiting, waiting - 1
                report = _Report(context.progress, context.rounds or most, deadline_s)
                held_part = None if held is None else held[number]
                booster, rounds = self._boost(params, part, rows, held_part, most, context, report)
                self._keep((name, number), booster.model_to_string(num_iteration=rounds))
                if part.weights is not None:
                    raw = self._boosters[name, number].predict(rows.matrix, raw_score=True)
                    self._offsets[name, number] = true_rates(np.asarray(raw).reshape(len(rows.target), -1), rows.target, part)
                histories += report.history
                kept.append(rounds)
                ended = ended or report.ended
                choices |= {key + suffix: params[key] for key in _TOLD} | {f"rounds{suffix}": rounds}
        choices |= {ENDED_BY_CLOCK: True} if ended else {}
        return Fitted(rounds=max(1, round(sum(kept) / len(kept))), history=tuple(histories), choices=choices)

    def predict(self, examples: Examples) -> dict[str, np.ndarray]:
        """Log-odds (binary), one margin a class, the standardised number or a rank's score; the same for a row in any batch."""
        return {name: self._scores(name, task, examples) for name, task in self._tasks.items()}

    def _scores(self, name: str, task: Task, examples: Examples) -> np.ndarray:
        """The parts' scores side by side, float32 (N, K)."""
        found = np.empty((examples.num_rows, task.num_scores), dtype=np.float32)
        if examples.num_rows == 0:
            return found
        matrix_NF, start = _matrix(examples.flat), 0
        threads = 1 if examples.num_rows < _SMALL_BATCH else _threads(matrix_NF)
        for number, part in enumerate(task.parts()):
            raw = self._boosters[name, number].predict(matrix_NF, raw_score=True, num_threads=threads)
            raw_NK, offset_K = np.asarray(raw).reshape(examples.num_rows, part.num_scores), self._offsets.get((name, number))
            found[:, start : start + part.num_scores] = raw_NK if offset_K is None else raw_NK + offset_K
            start += part.num_scores
        return found

    def cost(self) -> Cost:
        """Leaves and inner nodes; one comparison a level and one addition a tree."""
        leaves = [int(count) for text in self._texts.values() for count in re.findall(r"^num_leaves=(\d+)$", text, re.MULTILINE)]
        return Cost(
            parameters=sum(2 * count - 1 for count in leaves),
            flops_per_row=sum(math.ceil(math.log2(max(count, 2))) + 1 for count in leaves),
            weight_bytes=sum(len(text) for text in self._texts.values()),
        )

    def outlook(self, num_rows: int) -> Outlook:
        """What fitting so many rows takes, the first output alone."""
        num_columns = max(1, len(self._flat.names))
        part = next(iter(self._tasks.values())).parts()[0]
        rounds = self._rounds or int(_affordable(num_rows * num_columns, part))
        has_terms = min(self._flat.cardinalities, default=0) < 0
        return outlook_of(num_rows, num_columns, part.num_scores, rounds, self._most_leaves(num_rows, has_terms))

    def save(self, folder: Path) -> None:
        """Write trees-<output>.txt for each output (and part), without training parameters: same trees, same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        for place, text in self._texts.items():
            (folder / _file_name(place)).write_bytes(text.encode())
        if self._offsets:
            save_file({_file_name(place): offset_K for place, offset_K in self._offsets.items()}, folder / _OFFSETS)

    def load(self, folder: Path) -> None:
        """Read them back."""
        for name, task in self._tasks.items():
            for number in range(len(task.parts())):
                self._keep((name, number), (folder / _file_name((name, number))).read_bytes().decode())
        if (folder / _OFFSETS).is_file():
            offsets = load_file(folder / _OFFSETS)
            self._offsets = {place: offsets[_file_name(place)] for place in self._texts if _file_name(place) in offsets}

    def _keep(self, place: _Place, text: str) -> None:
        # Predicting from the text even before it was saved makes a loaded model the same model.
        self._texts[place] = _PARAMETERS.sub("\n", text)
        self._boosters[place] = lightgbm.Booster(model_str=self._texts[place])

    def _boost(
        self,
        params: dict[str, Any],
        part: Part,
        train: _Rows,
        held: _Rows | None,
        most: int,
        context: Context,
        report: _Report,
    ) -> tuple[lightgbm.Booster, int]:
        """The booster and how many of its rounds to keep."""
        rounds = context.rounds
        if rounds is None and held is None:
            rounds = self._search(params, part, train, most, context.seed)
        data = self._dataset(train, params, part)
        if rounds is not None:
            return lightgbm.train(params, data, rounds, callbacks=[report]), rounds
        assert held is not None, "rounds are known where no rows are held out"
        early = lightgbm.early_stopping(self._patience, verbose=False)
        held_data = self._dataset(held, params, part, reference=data)
        booster = lightgbm.train(params, data, most, valid_sets=[held_data], callbacks=[early, report])
        return booster, max(1, booster.best_iteration)

    def _search(self, params: dict[str, Any], part: Part, train: _Rows, most: int, seed: int) -> int:
        """The best number of rounds on held-out rows (groups, where they are ranked): five folds of few rows, one seventh of many.

        Texts are many where they cannot afford all rounds: five folds of them would take five times as long as the model.
        """
        num_rows = len(train.target)
        num_units = num_rows if train.sizes is None else len(train.sizes)
        is_dear = sparse.issparse(train.matrix) and _affordable(_num_cells(train.matrix), part) < _MOST_ROUNDS
        few = num_rows < _FOLD_ROWS and not is_dear
        part_N = np.random.default_rng(seed).permutation(num_units) % (5 if few else 7)
        part_N = part_N if train.sizes is None else np.repeat(part_N, train.sizes)
        parts = range(5) if few else range(1)
        folds = [(np.flatnonzero(part_N != part), np.flatnonzero(part_N == part)) for part in parts]
        if any(len(held) == 0 for _, held in folds):
            return min(most, 20)
        early = lightgbm.early_stopping(self._patience, verbose=False)
        data = self._dataset(train, params, part)
        curves = lightgbm.cv(params, data, most, folds=folds, callbacks=[early])
        losses = next(
            found for word, found in curves.items() if word.startswith(f"valid {params['metric']}") and word.endswith("-mean")
        )
        assert isinstance(losses, list), "only the booster is no list"
        return max(1, len(losses))

    def _dataset(
        self, rows: _Rows, params: dict[str, Any], part: Part, reference: lightgbm.Dataset | None = None
    ) -> lightgbm.Dataset:
        categories = [place for place, cardinality in enumerate(self._flat.cardinalities) if cardinality > 0]
        return lightgbm.Dataset(
            rows.matrix, rows.target, weight=part.row_weights(rows.target), group=rows.sizes, categorical_feature=categories,
            params=params, reference=reference, free_raw_data=False,
        )  # fmt: skip

    def _most_rounds(self, matrix_NF: Any, part: Part) -> int:
        return self._rounds or int(_affordable(_num_cells(matrix_NF), part))

    def _most_leaves(self, num_rows: int, has_terms: bool) -> int:
        return self._leaves or min(max(num_rows // 100, 6), 15 if has_terms else 31)

    def _params(self, rows: _Rows, part: Part, seed: int) -> dict[str, Any]:
        """LightGBM's parameters. The rules were tried on seven public tables of 569 to 48,842 rows."""
        num_rows, num_columns = rows.matrix.shape
        # Fewer rounds have to go further each; smooth in the number of rows, so that a refit on some more rows is alike.
        learning_rate = self._learning_rate or 0.05 * math.sqrt(_MOST_ROUNDS / _affordable(_num_cells(rows.matrix), part))
        has_terms = min(self._flat.cardinalities, default=0) < 0
        return {
            **_objective(part, rows.gains),
            "learning_rate": learning_rate,
            "num_leaves": self._most_leaves(num_rows, has_terms),
            "min_data_in_leaf": self._min_rows or min(max(num_rows // 1000, 8), 25),
            "feature_fraction": self._column_share or _column_share(num_columns, has_terms),
            "bagging_fraction": self._row_share,
            "bagging_freq": 1 if self._row_share < 1 else 0,
            "lambda_l2": self._penalty,
            "max_bin": 63 if has_terms else 255,
            "seed": seed % 2**31,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": _threads(rows.matrix),
            "verbosity": -1,
            **({"extra_trees": True, "extra_seed": seed % 2**31} if self._random_splits else {}),
        }


class _Report:
    """Callback of LightGBM: tells progress, keeps the loss on the stop rows, ends at the deadline with the best round so far."""

    order = 40

    def __init__(self, progress: Progress, total: int, deadline_s: float | None = None) -> None:
        self._progress, self._total, self._told = progress, total, 0.0
        self._end_s = math.inf if deadline_s is None else time.monotonic() + deadline_s
        self._best, self._least, self.ended = 0, math.inf, False
        self.history: list[Mapping[str, float]] = []

    def __call__(self, env: lightgbm.callback.CallbackEnv) -> None:
        figures = {"loss": _loss(env.evaluation_result_list[0])} if env.evaluation_result_list else {}
        if figures and env.iteration % 10 == 9:
            self.history.append({"round": env.iteration + 1, **figures})
        if time.monotonic() - self._told > 0.5:
            self._told = time.monotonic()
            self._progress("trees", env.iteration + 1, self._total, figures)
        if figures and figures["loss"] < self._least:
            self._best, self._least = env.iteration, figures["loss"]
        if time.monotonic() >= self._end_s and env.iteration + 1 < self._total:
            self.ended = True
            raise lightgbm.callback.EarlyStopException(self._best if figures else env.iteration, env.evaluation_result_list or [])


def _loss(entry: Sequence[Any]) -> float:
    """(data, metric, value, higher is better) as something that falls."""
    return 1.0 - float(entry[2]) if entry[3] else float(entry[2])


def _objective(part: Part, gains: np.ndarray | None) -> dict[str, Any]:
    if gains is not None:
        return {"objective": "lambdarank", "metric": "ndcg", "eval_at": [10], "label_gain": gains.tolist()}
    if part.kind == "number":
        return {"objective": "regression", "metric": "l2"}
    if part.kind == "quantile":
        return {"objective": "quantile", "metric": "quantile", "alpha": part.level}
    if part.kind == "binary":
        return {"objective": "binary", "metric": "binary_logloss"}
    return {"objective": "multiclass", "metric": "multi_logloss", "num_class": part.num_scores}


def _affordable(num_cells: int, part: Part) -> float:
    """Rounds that look at so many cells as a baseline may: a tree for each class looks at every cell once. num_cells: see `_num_cells`."""
    return min(_MOST_ROUNDS, max(_FEWEST_ROUNDS, _MOST_CELLS / max(1, num_cells * part.num_scores)))


def _num_cells(matrix_NF: Any) -> int:
    """Cells of a dense matrix of which a round takes as long as of this one."""
    return int(matrix_NF.nnz * _STORED if sparse.issparse(matrix_NF) else matrix_NF.size)


def _column_share(num_columns: int, has_terms: bool) -> float:
    if has_terms:
        return 0.3
    if num_columns <= 10:
        return 0.8
    return 0.6 if num_columns <= 16 else 0.45


def _threads(matrix_NF: Any) -> int:
    """Threads that pay for so many cells; their number changes nothing but the time.

    A round over stored cells is hundreds of short pieces of work after each of which threads wait for one another: on a busy machine two
    of them took forty times as long as one, so only texts of ten times as many cells get more.
    """
    num_cells = int(matrix_NF.nnz // _STORED if sparse.issparse(matrix_NF) else matrix_NF.size)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(available, _MOST_THREADS, num_cells // _CELLS_A_THREAD))


def _known(name: str, task: Task, examples: Examples) -> list[_Rows]:
    """The rows that have a target, for each of the task's parts."""
    target = np.asarray(examples.targets[name])
    rows = np.flatnonzero(task.known(target))
    if not len(rows):
        raise ModelError(f"outputs.{name}: no training or stop row has a value, at least one is needed. Check the column")
    matrix_NF = _matrix(examples.flat)
    if len(rows) < len(target):
        matrix_NF, target = matrix_NF[rows], target[rows]
    worth, company_N = task.worth(target), task.company(target)
    if worth is None or np.unique(company_N, return_counts=True)[1].max() > _MOST_IN_GROUP:
        return [_Rows(matrix_NF, each) for each in task.targets(target)]
    # LightGBM wants the rows of a group side by side.
    order = np.argsort(company_N, kind="stable")
    return [_Rows(matrix_NF[order], worth[0][order], np.unique(company_N, return_counts=True)[1], worth[1])]


def _matrix(flat: Any) -> Any:
    """The matrix as LightGBM takes it; one column of zeros where there is none."""
    if flat.shape[1] == 0:
        return np.zeros((flat.shape[0], 1), dtype=np.float32)
    return flat if sparse.issparse(flat) else np.ascontiguousarray(flat, dtype=np.float32)


def _file_name(place: _Place) -> str:
    """A number beside the output's name tells the parts of one output apart; quoted names hold no plus."""
    name, number = place
    return f"trees-{quote(name, safe='')}{f'+{number}' if number else ''}.txt"
