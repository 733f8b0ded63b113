"""The loss of class labels with what a file may ask of it: smoothing, class weights, focal. Shared by `binary` and `multiclass`.

Loads no torch at import. Class weights change what a model spends its capacity on, never what its probabilities mean: the loss looks at
the scores plus the logarithm of the weights, whose optimum under the weighted rows leaves scores that fit the true rates
(Elkan 2001, theorem 2; as logit adjustment Menon 2021, arXiv 2007.07314).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.special import expit, softmax

from lode.core.errors import DataError, listed, near_miss
from lode.model import labels
from lode.model.contracts import Part

if TYPE_CHECKING:
    import torch

_STEPS = 100

ClassWeights = Literal["balanced"] | Mapping[str, float] | None


class ClassLoss:
    """Mean cross-entropy of a batch under the options.

    smoothing: share of each target that is given to all classes alike (Szegedy 2016, arXiv 1512.00567).
    focal: gamma; a row counts (1 - p)^gamma, p the probability that its label got (Lin 2017, arXiv 1708.02002).
    """

    def __init__(self, smoothing: float, class_weights: ClassWeights, focal: float) -> None:
        self._smoothing, self._asked, self._focal = smoothing, class_weights, focal
        self._heat = 1.0 / focal_slope(focal)
        self.weights: tuple[float, ...] | None = None
        self._logs: dict[Any, tuple[torch.Tensor, torch.Tensor]] = {}

    def fit(self, classes: Sequence[str], rows: Sequence[int]) -> None:
        """Settle the weights; the mean weight of a training row is 1, so that the learning rate means the same.

        rows: training rows of each class. Errors: DataError for a weight of a class that does not occur.
        """
        self._logs.clear()
        if self._asked is None:
            return
        if self._asked == "balanced":
            raw = 1.0 / np.asarray(rows, np.float64)
        else:
            asked = {str(labels.canonical(word)): float(weight) for word, weight in self._asked.items()}
            wrong = [word for word in asked if word not in classes]
            if wrong:
                raise DataError(
                    f'output: class_weights names "{wrong[0]}", which is no class, found {listed(classes)}.'
                    f"{near_miss(wrong[0], classes)} Correct the word, or leave it out."
                )
            raw = np.array([asked.get(word, 1.0) for word in classes])
        self.weights = tuple((raw * np.sum(rows) / (raw * rows).sum()).tolist())

    def state(self) -> dict[str, Any]:
        """Nothing where no weights were asked for."""
        return {} if self.weights is None else {"class_weights": list(self.weights)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the weights."""
        self.weights = tuple(state["class_weights"]) if "class_weights" in state else None

    def binary(self, logits_B: torch.Tensor, target_B: torch.Tensor) -> torch.Tensor:
        """logits_B: float32; target_B: 0 or 1."""
        import torch
        from torch.nn import functional

        truth_B = target_B.to(logits_B.dtype)
        if not self._smoothing and self.weights is None and not self._focal:
            return functional.binary_cross_entropy_with_logits(logits_B, truth_B)
        row_B = None
        if self.weights is not None:
            weight_K, log_K = self._tensors(logits_B)
            logits_B, row_B = logits_B + (log_K[1] - log_K[0]), weight_K[target_B.long()]
        soft_B = truth_B * (1 - self._smoothing) + self._smoothing / 2
        if not self._focal:
            return functional.binary_cross_entropy_with_logits(logits_B, soft_B, weight=row_B)
        log_yes_B, log_no_B = functional.logsigmoid(logits_B), functional.logsigmoid(-logits_B)
        # (1 - p)^gamma as exp(gamma log(1 - p)): its gradient stays finite where p is 1.
        loss_B = -soft_B * torch.exp(self._focal * log_no_B) * log_yes_B
        loss_B = loss_B - (1 - soft_B) * torch.exp(self._focal * log_yes_B) * log_no_B
        return (loss_B if row_B is None else loss_B * row_B).mean()

    def multiclass(self, logits_BK: torch.Tensor, target_B: torch.Tensor) -> torch.Tensor:
        """logits_BK: float32; target_B: codes."""
        import torch
        from torch.nn import functional

        code_B = target_B.long()
        if self.weights is None and not self._focal:
            return functional.cross_entropy(logits_BK, code_B, label_smoothing=self._smoothing)
        row_B = None
        if self.weights is not None:
            weight_K, log_K = self._tensors(logits_BK)
            logits_BK, row_B = logits_BK + log_K, weight_K[code_B]
        log_BK = functional.log_softmax(logits_BK, dim=1)
        if self._focal:
            # log(1 - p) is -infinity at p = 1; the floor keeps its gradient finite.
            rest_BK = torch.log((-torch.expm1(log_BK)).clamp_min(1e-12))
            log_BK = torch.exp(self._focal * rest_BK) * log_BK
        right_B = log_BK.gather(1, code_B[:, None])[:, 0]
        loss_B = -(1 - self._smoothing) * right_B - self._smoothing * log_BK.mean(dim=1)
        return (loss_B if row_B is None else loss_B * row_B).mean()

    def _tensors(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights and their logarithms on the device of `like`; copied there once.

        Scores under the focal loss are flatter than log odds and get a temperature afterwards: so the logarithms are as flat.
        """
        import torch

        if like.device not in self._logs:
            weight_K = torch.tensor(self.weights, dtype=torch.float32, device=like.device)
            self._logs[like.device] = weight_K, torch.log(weight_K) * self._heat
        return self._logs[like.device]


def focal_slope(gamma: float) -> float:
    """How much steeper the true log odds are than scores that are best under the focal loss, where both are near 0; 1 at gamma 0.

    The derivative at 0.5 of the map from focal scores to chances (Charoenphakdee 2021, arXiv 2011.09172); 2.68 at gamma 2.
    """
    return 1.0 + gamma * (2.0 + (gamma - 2.0) * math.log(2.0)) / (1.0 + gamma * math.log(2.0))


def true_rates(scores_NK: np.ndarray, target_N: np.ndarray, part: Part) -> np.ndarray:
    """What to add to scores that were learnt under class weights, float64 (K,), so that mean probabilities are the rows' shares.

    The logarithm of the weights would do for a model that is not held back; one that is (penalties, few rounds) stays nearer to the
    weighted rates, so the rest is found on the training rows themselves (Saerens 2002, Neural Computation 14:21).
    """
    shift_K = part.shift()
    assert shift_K is not None, "only weighted parts need it"
    offset_K = -shift_K
    # A class without a row (a small fold) counts as half a row, so that its logarithm stays finite.
    counts_K = np.maximum(np.bincount(target_N, minlength=max(2, part.num_scores)), 0.5)
    share_K = counts_K / counts_K.sum()
    for _ in range(_STEPS):
        if part.kind == "binary":
            said = expit(scores_NK[:, 0] + offset_K[0]).mean()
            step_K = np.array([np.log(share_K[1] / share_K[0]) - np.log(said / (1.0 - said))])
        else:
            step_K = np.log(share_K / softmax(scores_NK + offset_K, axis=1).mean(axis=0))
        offset_K = offset_K + step_K
        if np.abs(step_K).max() < 1e-9:
            break
    return offset_K
