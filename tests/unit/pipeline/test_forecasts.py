"""What a run's report says of its forecast: only figures that mean the same on both sides."""

from __future__ import annotations

from typing import Any

import pytest

from lode.pipeline.forecasts import reconciled

SAID = {"parameters": 10, "steps": 100, "flops_per_step": 5.0, "flops": 500.0, "tokens_per_step": 600,
        "step_seconds": {"low": 0.05, "middle": 0.1, "high": 0.2}, "seconds": {"low": 5.0, "middle": 10.0, "high": 20.0}}  # fmt: skip


def _rows(**choices: Any) -> dict[str, dict[str, Any]]:
    fit = {"forecast": SAID, "seconds": 20.0, "choices": {"steps": 100, **choices}}
    return {row["figure"]: row for row in reconciled(fit, 10, 1 << 20)}


def test_a_step_is_the_measured_one_and_left_out_where_none_was_measured() -> None:
    assert _rows(tokens_per_s=6000.0)["a step"]["actual"] == pytest.approx(0.1)
    assert "a step" not in _rows()  # 20 seconds of a tiny fit are its set-up, not a hundred steps
    assert _rows()["training (forecast: its steps alone)"]["actual"] == 20.0


def test_without_a_forecast_there_is_no_table() -> None:
    assert reconciled({"seconds": 1.0, "choices": {}}, 1, 1) == []
