"""A folder of this machine as a target."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lode.app.targets.contracts import AbsentError, Target
from lode.core import disk
from lode.core.errors import BackupError

_T = TypeVar("_T")


class FolderTarget(Target):
    """A folder of this machine. What is written is on the disk before `write` returns."""

    def __init__(self, folder: Path):
        self.where = str(folder)
        self._folder = folder

    def write(self, name: str, content: bytes) -> None:
        # Other machines may write to the same place.
        self._told(lambda: disk.write_whole(self._folder / name, [content], secrets.token_hex(4)))

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        def work() -> bytes:
            with (self._folder / name).open("rb") as file:
                file.seek(start)
                return file.read(-1 if length is None else length)

        return self._told(work)

    def names(self, folder: str) -> list[str]:
        path = self._folder / folder

        def work() -> list[str]:
            return sorted(entry.name for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))

        try:
            return self._told(work)
        except AbsentError:
            return []

    def remove(self, name: str) -> None:
        self._told(lambda: (self._folder / name).unlink(missing_ok=True))

    def _told(self, work: Callable[[], _T]) -> _T:
        """Errors of the system in our words."""
        try:
            return work()
        except FileNotFoundError as error:
            raise AbsentError(
                f"{self.where}: found no {_inside(error.filename, self.where)}. Was it removed, or is another place meant?"
            ) from None
        except OSError as error:
            if disk.is_full(error):
                raise BackupError(
                    f"{self.where}: the disk is full. Free some, or name another target; older backups are whole."
                ) from None
            raise BackupError(
                f"{self.where}: cannot be used ({(error.strerror or str(error)).lower()}). Is the target there?"
            ) from None


def _inside(path: Any, folder: str) -> str:
    return str(path).removeprefix(folder).lstrip("/") or "folder"
