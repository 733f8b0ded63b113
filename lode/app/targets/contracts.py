"""A target: a flat store of objects named "folder/name", each written whole or not at all.

Implementations: `folder.py`, `remote.py`. Nothing else of lode writes to other people's stores.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from lode.core.errors import BackupError


class AbsentError(BackupError):
    """There is no object of this name."""


class Target(ABC):
    """A flat store of objects. Errors of every method: BackupError (AbsentError where an object is asked for that is not there)."""

    where: str

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Put an object, whole; one of this name is replaced."""

    @abstractmethod
    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """An object, or `length` bytes of it from `start` on."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Names of the objects in a folder, without the folder, sorted."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove an object; one that is gone already is no error."""
