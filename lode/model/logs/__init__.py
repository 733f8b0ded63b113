"""Losses for other people's pages, while training: `train: {log: [tensorboard, mlflow]}`. One file per word beside this one.

A word's file has a class of its name: `__init__(self, folder: Path)`, `write(step, figures)`, `close()`; its package is loaded only then.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from lode.core.packages import missing


class Log(Protocol):
    """Where figures go."""

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """figures: name -> value, after `step` updates."""

    def close(self) -> None:
        """Everything is on disk."""


class Logs:
    """All that were asked for, as one; writes nothing where there is no folder."""

    def __init__(self, words: Sequence[str], folder: Path | None) -> None:
        self._logs: list[Log] = [] if folder is None else [_open(word, folder / word) for word in words]

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        for log in self._logs:
            log.write(step, figures)

    def close(self) -> None:
        for log in self._logs:
            log.close()


def _open(word: str, folder: Path) -> Log:
    """Errors: MissingPackageError with the install command."""
    try:
        module = importlib.import_module(f"lode.model.logs.{word}")
    except ModuleNotFoundError as error:
        raise missing(f"train.log: {word}", error) from error
    folder.mkdir(parents=True, exist_ok=True)
    log: Log = getattr(module, word.capitalize())(folder)
    return log
