"""Linear quantile regression by a smoothed pinball loss and L-BFGS: sparse matrices too, without a linear program over all rows.

Source: Koenker and Bassett 1978; smoothing: Zheng 2011, Gradient descent algorithms for quantile regression with smooth approximation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

_WIDTH = 0.02
"""Of the smoothing, in standard deviations of the target: the kink of the loss is rounded over so much."""


def fit_pinball(
    matrix_NX: Any, target_N: np.ndarray, level: float, penalty: float, iterations: int
) -> tuple[np.ndarray, np.ndarray]:
    """(weight_XK, bias_K) float64, K = 1, of the quantile at `level`.

    penalty: of the squared weights, on the scale of the summed loss. target_N: standardised, float64.
    """
    num_rows, size = matrix_NX.shape

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight_X, bias = flat[:size], flat[size]
        short_N = target_N - (matrix_NX @ weight_X + bias)
        # level * u + width * log(1 + exp(-u / width)) is the pinball loss with its kink rounded off.
        value = level * short_N + _WIDTH * np.logaddexp(0.0, -short_N / _WIDTH)
        slope_N = -(level - expit(-short_N / _WIDTH))
        gradient = np.append(matrix_NX.T @ slope_N + penalty * weight_X, slope_N.sum())
        return (float(value.sum()) + 0.5 * penalty * float(weight_X @ weight_X)) / num_rows, gradient / num_rows

    start = np.zeros(size + 1)
    start[size] = np.quantile(target_N, level)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations})
    return found.x[:size, None], found.x[size:]
