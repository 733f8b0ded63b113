"""A vector a row in which rows of one label lie together (metric learning): contrastive loss, judged by nearest neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from lode.core.types import ColumnSchema, Range
from lode.model import labels
from lode.model.contracts import Part, State, Task

if TYPE_CHECKING:
    import torch

_TINY = 1e-12


class Embedding(Task):
    """Unit vectors; the label says which rows belong together, and may be one that training never had.

    Args:
        width: Numbers of the vector.
        loss: "contrastive" pulls each row to all of its label in the batch, away from the others (Khosla 2020, arXiv 2004.11362); "triplet"
            wants the nearest other label farther away than the farthest row of its own, by a margin (Hermans 2017, arXiv 1703.07737).
        temperature: Of "contrastive": less looks more at the nearest rows.
        margin: Of "triplet", in distances of unit vectors (0 to 2).
    """

    metrics = ("recall_at_1", "map_at_r")
    kind = "vector"
    baselines = ("constant", "directions")
    networks = ("network",)
    together = 2

    def __init__(
        self,
        *,
        width: Annotated[int, Range(2)] = 64,
        loss: Literal["contrastive", "triplet"] = "contrastive",
        temperature: Annotated[float, Range(0, 1, open_low=True)] = 0.1,
        margin: Annotated[float, Range(0, 2, open_low=True)] = 0.2,
    ) -> None:
        self._width, self._kind, self._temperature, self._margin = width, loss, temperature, margin
        self._classes: tuple[str, ...] = ()

    def fit(self, values: np.ndarray) -> None:
        """Learn which labels there are. values: object or numeric (N,). Errors: DataError where fewer than two labels occur."""
        found = labels.found(values)
        labels.need_two_classes(found)
        self._classes = tuple(labels.sort_words(list(found)))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """int64 (N,) codes; -1 for a missing label or one that training never saw."""
        return labels.encode(values, self._classes)

    @property
    def num_scores(self) -> int:
        """Numbers of the vector."""
        return self._width

    @property
    def classes(self) -> tuple[str, ...]:
        """None: a label is no answer."""
        return ()

    def loss(self, scores_BK: torch.Tensor, target_B: torch.Tensor) -> torch.Tensor:
        """Mean over the rows that have a fellow in the batch."""
        import torch
        from torch.nn import functional

        z_BK = functional.normalize(scores_BK.float(), dim=1)
        near_BB = z_BK @ z_BK.T
        same_BB = target_B[:, None] == target_B[None, :]
        self_BB = torch.eye(len(z_BK), dtype=torch.bool, device=z_BK.device)
        fellow_BB = same_BB & ~self_BB
        has_B = fellow_BB.any(dim=1)
        if self._kind == "contrastive":
            logits_BB = (near_BB / self._temperature).masked_fill(self_BB, -1e9)
            log_BB = logits_BB - logits_BB.logsumexp(dim=1, keepdim=True)
            loss_B = -(log_BB * fellow_BB).sum(dim=1) / fellow_BB.sum(dim=1).clamp_min(1)
        else:
            # Squared distances of unit vectors; the floor keeps the gradient of the root finite.
            far_BB = (2.0 - 2.0 * near_BB).clamp_min(1e-8).sqrt()
            own_B = far_BB.masked_fill(~fellow_BB, 0.0).amax(dim=1)
            other_B = far_BB.masked_fill(same_BB, 4.0).amin(dim=1)
            loss_B = functional.softplus(own_B - other_B + self._margin)
        return (loss_B * has_B).sum() / has_B.sum().clamp_min(1)

    def decode(self, scores_NK: np.ndarray, temperature: float = 1.0) -> dict[str, np.ndarray]:
        """The unit vector of each row, a list of numbers."""
        return {"": labels.lists(self.figures(scores_NK).tolist())}

    def figures(self, scores_NK: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Unit vectors, float64 (N, K)."""
        wide = scores_NK.astype(np.float64)
        return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), _TINY)

    def truth(self, values: np.ndarray) -> np.ndarray:
        """A code for every label of these rows (N,), seen in training or not; -1 where there is none."""
        words = labels.canonical_all(values)
        codes = {word: code for code, word in enumerate(dict.fromkeys(word for word in words if word is not None))}
        return np.array([-1 if word is None else codes[word] for word in words], dtype=np.int64)

    def answers(self) -> tuple[ColumnSchema, ...]:
        """The vector."""
        return (ColumnSchema("", "", "vector", f"a list of {self._width} numbers"),)

    def trials(self, scores_NK: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """None: a vector is no probability."""

    def prior(self, target: np.ndarray) -> np.ndarray:
        """The same vector for all."""
        return np.ones(self._width, np.float32)

    def start(self, target: np.ndarray) -> np.ndarray | None:
        """No bias."""

    def parts(self) -> tuple[Part, ...]:
        """None: no plain problem gives vectors."""
        return ()

    def state(self) -> State:
        """The labels."""
        return {"classes": list(self._classes)}

    def restore(self, state: State) -> None:
        """Take over the labels."""
        self._classes = tuple(state["classes"])
