"""What is known of a file on another machine, and the error for a connection that may work the next time."""

from __future__ import annotations

from dataclasses import dataclass

from lode.core.errors import DataError


class LostError(DataError):
    """The server went away, is busy, or sent less than it said. wait_s: seconds that the server asks to wait."""

    def __init__(self, text: str, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file.

    name: relative to the url, with `/`; where it will lie below the landing folder. path: what the server calls it.
    shown: for messages. num_bytes: None where the server does not say. version: changes with the bytes; "" where nothing tells,
    then the file is read anew by every run and never resumed.
    """

    name: str
    path: str
    shown: str
    num_bytes: int | None
    version: str
