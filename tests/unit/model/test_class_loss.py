"""Class weights, smoothing and the focal loss together: torch's own losses, scikit-learn's weights, formulas of the papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from lode.model.contracts import Part
from lode.model.losses import ClassLoss, ClassWeights, true_rates

ROWS = (5, 3, 2)
SCORES = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.3, -0.3], [-1.0, 0.2, 2.0], [0.7, 0.1, -0.4]])
CODES = torch.tensor([0, 1, 2, 2])


def loss_of(weights: ClassWeights = None, smoothing: float = 0.0, focal: float = 0.0, rows: tuple[int, ...] = ROWS) -> ClassLoss:
    made = ClassLoss(smoothing, weights, focal)
    made.fit(("a", "b", "c")[: len(rows)], rows)
    return made


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=np.repeat(np.arange(3), ROWS))
    assert loss_of("balanced").weights == pytest.approx(wanted)


def test_a_class_without_a_weight_of_its_own_has_one_and_the_mean_row_too() -> None:
    """Raw weights 1, 4, 1 of 5, 3, 2 rows: 19 in all, a mean row has 1.9."""
    assert loss_of({"b": 4.0}).weights == pytest.approx((1 / 1.9, 4 / 1.9, 1 / 1.9))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_weighted_classes_are_cross_entropy_of_shifted_scores_and_weighted_rows(smoothing: float) -> None:
    """Menon 2021 (arXiv 2007.07314), equation 10 with log weights for log priors, rows weighted; torch does the rest."""
    weight = torch.tensor([1 / 1.9, 4 / 1.9, 1 / 1.9])
    each = functional.cross_entropy(SCORES + weight.log(), CODES, label_smoothing=smoothing, reduction="none")
    found = loss_of({"b": 4.0}, smoothing).multiclass(SCORES, CODES)
    torch.testing.assert_close(found, (each * weight[CODES]).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_two_weighted_classes_are_the_same_by_one_score(smoothing: float) -> None:
    """Raw weights 1 and 3 of 6 and 2 rows: 12 in all, a mean row has 1.5. Both answers come from torch, by one score and by two."""
    weight, code = torch.tensor([1 / 1.5, 3 / 1.5]), torch.tensor([0, 1, 1, 0])
    own = loss_of({"b": 3.0}, smoothing, rows=(6, 2))
    soft = code * (1 - smoothing) + smoothing / 2
    each = functional.binary_cross_entropy_with_logits(SCORES[:, 0] + torch.tensor(3.0).log(), soft, reduction="none")
    torch.testing.assert_close(own.binary(SCORES[:, 0], code), (each * weight[code]).mean())
    two = torch.stack([torch.zeros(4), SCORES[:, 0]], dim=1)
    torch.testing.assert_close(own.binary(SCORES[:, 0], code), own.multiclass(two, code))


def test_focal_loss_of_classes_by_hand() -> None:
    """Lin 2017, equation 4, gamma 2: p = 0.6 costs 0.4^2 x 0.5108, p = 0.1 costs 0.9^2 x 2.3026."""
    scores = torch.tensor([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1]]).log()
    found = loss_of(focal=2.0).multiclass(scores, torch.tensor([0, 2]))
    assert found.item() == pytest.approx((0.16 * 0.510826 + 0.81 * 2.302585) / 2, rel=1e-5)
    sure = torch.tensor([[90.0, 0.0, 0.0]], requires_grad=True)
    loss_of(focal=2.0).multiclass(sure, torch.tensor([0])).backward()
    assert sure.grad is not None and torch.isfinite(sure.grad).all()


@pytest.mark.parametrize("weights", [None, {"b": 4.0}])
def test_focal_loss_with_smoothing_and_weights_is_the_sum_over_the_soft_target(weights: ClassWeights) -> None:
    """At gamma 2 focal scores are 2.676 times flatter than log odds (arXiv 2011.09172), and so is the shift by the weights:
    1 + 2 (2 + 0) / (1 + 2 ln 2) = 2.6762.
    """
    weight = torch.ones(3) if weights is None else torch.tensor([1 / 1.9, 4 / 1.9, 1 / 1.9])
    chance = (SCORES + weight.log() / 2.67618).softmax(dim=1)
    soft = 0.8 * functional.one_hot(CODES, 3) + 0.2 / 3
    each = -(soft * (1 - chance) ** 2 * chance.log()).sum(dim=1)
    found = loss_of(weights, 0.2, 2.0).multiclass(SCORES, CODES)
    torch.testing.assert_close(found, (each * weight[CODES]).mean(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("weights", [None, {"b": 3.0}])
def test_focal_loss_of_two_classes_has_both_sides_of_the_soft_target(weights: ClassWeights) -> None:
    weight, code = torch.tensor([1.0, 1.0] if weights is None else [1 / 1.5, 3 / 1.5]), torch.tensor([0, 1, 1, 0])
    p = torch.sigmoid(SCORES[:, 0] + (weight[1] / weight[0]).log() / 2.67618)
    soft = code * 0.8 + 0.1
    each = -soft * (1 - p) ** 2 * p.log() - (1 - soft) * p**2 * (1 - p).log()
    found = loss_of(weights, 0.2, 2.0, (6, 2)).binary(SCORES[:, 0], code)
    torch.testing.assert_close(found, (each * weight[code]).mean(), rtol=1e-5, atol=0)


def test_weights_of_a_second_fit_replace_those_of_the_first() -> None:
    """Also what was copied to the device: a fold is fitted on other rows."""
    own, fresh = loss_of("balanced"), loss_of("balanced", rows=(1, 8, 1))
    own.multiclass(SCORES, CODES)
    own.fit(("a", "b", "c"), (1, 8, 1))
    torch.testing.assert_close(own.multiclass(SCORES, CODES), fresh.multiclass(SCORES, CODES))


def test_true_rates_make_mean_chances_the_shares_of_the_rows() -> None:
    """What Saerens 2002 solves for. A class without a row counts as half a one: shares of 40, 20 and 0.5 rows."""
    scores = np.random.default_rng(0).normal(0, 2, (60, 3))
    offset = true_rates(scores, np.repeat([0, 1], [40, 20]), Part("multiclass", 3, weights=(0.5, 1.0, 4.0)))
    wanted = np.array([40, 20, 0.5]) / 60.5
    assert softmax(scores + offset, axis=1).mean(axis=0) == pytest.approx(wanted, abs=1e-7)
    one = true_rates(scores[:, :1], np.repeat([0, 1], [50, 10]), Part("binary", weights=(0.5, 3.5)))
    assert one.shape == (1,) and expit(scores[:, 0] + one[0]).mean() == pytest.approx(10 / 60, abs=1e-7)
