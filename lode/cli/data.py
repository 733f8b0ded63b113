"""Read, clean, split and store the data (the first stage)."""

from __future__ import annotations

import argparse
from typing import Any

from lode.cli import _stages as stages


def add(parser: argparse.ArgumentParser) -> None:
    stages.add(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    return stages.run(args, "data")


def show(result: dict[str, Any]) -> str:
    return stages.show(result)
