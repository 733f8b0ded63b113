"""A tag for every token of a text (names, places, parts of speech): cross-entropy each token, only legal sequences are answered."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import numpy as np
from scipy.special import log_softmax

from lode.core.errors import DataError
from lode.core.types import ColumnName, ColumnSchema, Range
from lode.model import labels, transitions
from lode.model.contracts import Part, State, Task

if TYPE_CHECKING:
    import torch

_CHUNK_ROWS = 256


class Tagging(Task):
    """One tag a token. A cell is a list of tags, or a text of tags with blanks between them, as many as the text has tokens.

    Where tags mark entities (B-PER I-PER, or B- M- E- S-), only sequences that can be are answered: the best one of those (Viterbi 1967).
    Tags without marks and without an O (parts of speech, states) are judged by token accuracy first.

    Args:
        of: the text whose tokens are tagged; left open where one input has steps. Give it `tokens: space` if it is cut already.
        min_rows: tags on fewer training tokens are not learnt.
    """

    metrics = ("entity_f1", "token_accuracy")
    kind = "tags"
    cells = "lists"
    steps = True
    baselines = ("constant", "lookup")
    networks = ("network",)
    separator = " "

    def __init__(self, *, of: ColumnName | None = None, min_rows: Annotated[int, Range(1)] = 1) -> None:
        self.of = of
        self._min_rows = min_rows
        self._tags: tuple[str, ...] = ()
        self._length = 1.0
        self._adopt()

    def fit(self, values: np.ndarray) -> None:
        """Learn the tags and the mean number of tokens. values: object (N,) of lists or texts.

        Errors: DataError where fewer than two tags occur.
        """
        rows = [_cut(value) for value in values.tolist()]
        counts = Counter(tag for row in rows for tag in row)
        self._tags = tuple(sorted(tag for tag, count in counts.items() if count >= self._min_rows))
        if len(self._tags) < 2:
            raise DataError(
                f"output: {len(self._tags)} different tags found in {len(rows):,} rows, at least two are needed. "
                "Check the column: a list of tags, or tags with a blank between them"
            )
        self._length, self.num_steps = sum(map(len, rows)) / len(rows), max(map(len, rows))
        self._adopt()

    def encode(self, values: np.ndarray) -> np.ndarray:
        """int64 (N, T) codes, T the longest row; -1 behind a row's end and for tags that training never saw."""
        rows = [_cut(value) for value in values.tolist()]
        codes = {tag: code for code, tag in enumerate(self._tags)}
        found = np.full((len(rows), max(map(len, rows), default=0) or 1), -1, np.int64)
        for place, row in enumerate(rows):
            found[place, : len(row)] = [codes.get(tag, -1) for tag in row]
        return found

    @property
    def num_scores(self) -> int:
        """One logit each tag."""
        return len(self._tags)

    @property
    def classes(self) -> tuple[str, ...]:
        """The tags in code order."""
        return self._tags

    def loss(self, scores_BK: torch.Tensor, target_B: torch.Tensor) -> torch.Tensor:
        """Cross-entropy (B, T, K) against (B, T), summed over tokens; a mean over rows, in units of a mean row's tokens.

        Divided by a constant and not by the tokens of the batch, so that half batches add up to the whole.
        """
        import torch
        from torch.nn import functional

        steps = min(scores_BK.shape[1], target_B.shape[1])
        scores, target = scores_BK[:, :steps].float(), target_B[:, :steps].long()
        real = (target >= 0) & ~torch.isnan(scores[:, :, 0])
        each = functional.cross_entropy(scores.nan_to_num(0.0).flatten(0, 1), target.clamp_min(0).flatten(), reduction="none")
        return (each * real.flatten()).sum() / (len(scores) * self._length)

    def decode(self, scores_NK: np.ndarray, temperature: float = 1.0) -> dict[str, np.ndarray]:
        """The list of tags; as many as the row has steps."""
        return {"": labels.lists([self._tags[code] for code in row if code >= 0] for row in self._best(scores_NK).tolist())}

    def figures(self, scores_NK: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """The best legal sequence as `natural` gives it, float64 (N, T, 3). scores_NK: (N, T, K)."""
        return self.natural(self._best(scores_NK)).astype(np.float64)

    def natural(self, target: np.ndarray) -> np.ndarray:
        """int64 (N, T, 3): the code of each tag, what it marks and of which type (`transitions.marks`), so that metrics know entities."""
        return np.concatenate([target[:, :, None], self._marks[target]], axis=2)

    def _best(self, scores_NTK: np.ndarray) -> np.ndarray:
        """Codes of the best legal sequence, int64 (N, T), -1 where there is no step."""
        parts = [scores_NTK[start : start + _CHUNK_ROWS] for start in range(0, len(scores_NTK), _CHUNK_ROWS)]
        found = [transitions.best(log_softmax(part, axis=2), self._moves) for part in parts]
        return np.concatenate(found) if found else np.empty(scores_NTK.shape[:2], np.int64)

    def answers(self) -> tuple[ColumnSchema, ...]:
        """The list."""
        return (ColumnSchema("", "", "list", "a list of tags, one a token"),)

    def trials(self, scores_NK: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """No probability is answered, so nothing is calibrated."""

    def strata(self, target: np.ndarray) -> np.ndarray:
        """The rarest tag of each row, int64 (N,)."""
        code_NT = target if target.ndim == 2 else target[:, :, 0]
        order_K = np.argsort(np.bincount(code_NT[code_NT >= 0], minlength=len(self._tags)), kind="stable")
        rank_NT = np.where(code_NT >= 0, np.argsort(order_K, kind="stable")[code_NT], len(self._tags) - 1)
        return order_K[rank_NT.min(axis=1)].astype(np.int64)

    def prior(self, target: np.ndarray) -> np.ndarray:
        """Log-shares of the tags, for every step: float32 (T, K)."""
        counts_K = np.maximum(np.bincount(target[target >= 0], minlength=len(self._tags)), 0.5)
        return np.tile(np.log(counts_K / counts_K.sum()).astype(np.float32), (self.num_steps, 1))

    def start(self, target: np.ndarray) -> np.ndarray:
        """The same, for one step."""
        return self.prior(target)[0]

    def parts(self) -> tuple[Part, ...]:
        """None: a flat matrix knows no tokens."""
        return ()

    def state(self) -> State:
        """The tags and the mean number of tokens."""
        return {"tags": list(self._tags), "length": self._length, "steps": self.num_steps}

    def restore(self, state: State) -> None:
        """Take over the tags."""
        self._tags, self._length, self.num_steps = tuple(state["tags"]), float(state["length"]), int(state["steps"])
        self._adopt()

    def _adopt(self) -> None:
        """What follows from the tags."""
        self.scheme = transitions.scheme_of(self._tags)
        self._moves = transitions.legal(self._tags, self.scheme)
        self._marks = transitions.marks(self._tags, self.scheme)
        if self._tags and self.scheme == "none" and "O" not in self._tags:
            # Every step has a tag of its own (parts of speech, states of a machine): there are no entities to be found
            self.metrics = ("token_accuracy", "entity_f1")  # type: ignore[misc]


def _cut(cell: object) -> list[str]:
    """The tags of a cell."""
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return []
    return [str(tag) for tag in (cell.split() if isinstance(cell, str) else cell)]  # type: ignore[attr-defined]
