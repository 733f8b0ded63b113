"""Evaluate on the test rows and write the report (up to the third stage)."""

from __future__ import annotations

import argparse
from typing import Any

from lode.cli import _stages as stages


def add(parser: argparse.ArgumentParser) -> None:
    stages.add(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    return stages.run(args, "evaluate")


def show(result: dict[str, Any]) -> str:
    return stages.show(result)
