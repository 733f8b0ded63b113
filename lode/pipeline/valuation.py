"""What a model's decisions earn on the test rows, against doing the same for every row and against the baselines."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from lode.core.spec import ValueSpec
from lode.pipeline import development
from lode.value.contracts import Policy
from lode.value.curve import points, policy_curve
from lode.value.worth import Worth, appraise


def valuation(
    value: ValueSpec,
    rows: pl.DataFrame,
    truth_M: np.ndarray,
    model: tuple[Policy, np.ndarray],
    baselines: Mapping[str, tuple[Policy, np.ndarray]],
    facts: Mapping[str, Any],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The value block of the report: `lode.value.worth.Appraisal` as JSON, what the policy chose, the profit curves.

    rows: the M labelled test rows; policies may read money columns from them. model, baselines: each with the policy that
    was fitted for it on other rows, and its predictions (M,). facts: "training_seconds" (whole), "serving_seconds" (one
    decision) and "profit_curve" (points on the rows that chose the threshold) are used where they are given.
    Errors: DataError for a money column that is missing or holds no amount.
    """
    policy, prediction_M = model
    outcomes = development.outcomes(rows, policy, prediction_M, truth_M)
    appraisal = appraise(
        Worth(**value.options),
        policy,
        outcomes,
        {name: their.act(said) for name, (their, said) in baselines.items()},
        training_seconds=_exact(facts.get("training_seconds")),
        serving_seconds=_exact(facts.get("serving_seconds")),
        resamples=resamples,
        seed=seed,
    )
    curves = {"chosen on": facts.get("profit_curve") or []}
    if type(policy).task == "binary":
        curves["test"] = points(policy_curve(policy, outcomes))
    return {
        **appraisal.to_json(),
        "policy": policy.state(),
        "curves": {name: _plain(entry) for name, entry in curves.items() if entry},
    }


def _exact(seconds: float | Decimal | None) -> Decimal:
    return Decimal(0) if seconds is None else Decimal(str(seconds))


def _plain(curve: list[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Points for a picture: exact amounts become floats here and nowhere else."""
    return [{key: float(entry) for key, entry in point.items()} for point in curve]
