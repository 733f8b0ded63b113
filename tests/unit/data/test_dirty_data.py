"""The figures of benchmarks/dirty_data.py, with loose lower bounds."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def benchmark(lode_data: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("dirty_data", ROOT / "benchmarks" / "dirty_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.DATA = lode_data  # type: ignore[attr-defined]
    return module


@pytest.mark.data
@pytest.mark.parametrize(
    ("case", "detection", "repair"),
    [
        ("hospital defaults", 0.85, 0.75),
        ("hospital constraints", 0.85, 0.83),
        ("hospital rules", 0.93, 0.83),
        ("beers defaults", 0.95, 0.90),
        ("beers rules", 0.98, 0.95),
    ],
)
def test_errors_are_found_and_mended(benchmark: ModuleType, case: str, detection: float, repair: float) -> None:
    found = benchmark.measure(case)["all"]
    assert found["detection_f1"] >= detection
    assert found["repair_f1"] >= repair
