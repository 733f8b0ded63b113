"""Shared fixtures. Tests marked `data` use the real data under LODE_DATA (default ../shared/data), those marked `servers` real databases.

Where these are absent they skip with a reason. With `--require-data` and `--require-servers` (what `.ci/run` asks for) such a skip is a
failure.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-data", action="store_true", help="fail, instead of skip, where the real data sets are absent")
    parser.addoption("--require-servers", action="store_true", help="fail, instead of skip, where PostgreSQL or MariaDB is absent")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    for marker in ("data", "servers"):
        if report.skipped and item.get_closest_marker(marker) and item.config.getoption(f"--require-{marker}"):
            report.outcome = "failed"
            report.longrepr = f"--require-{marker}: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr}"
    return report


@pytest.fixture(scope="session")
def lode_data() -> Path:
    """The folder of real data sets, or a skip that says how to get them."""
    folder = Path(os.environ.get("LODE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set LODE_DATA to a folder that has it")
    return folder
