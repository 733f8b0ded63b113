"""How far the cells of a workbook's sheets lie apart: its reader makes room for the whole rectangle, and one cell in the last corner
would be 17 thousand million places. Used by lode/data/sources/excel.py.
"""

from __future__ import annotations

import re

from lode.core.errors import DataError
from lode.data.formats import files

MAX_PLACES = 1 << 25
"""So many are given to any sheet; to others `files.MAX_RATIO` times its cells."""

_CELL = re.compile(rb'\sr="([A-Z]{1,3})([0-9]{1,7})"')
_LONGEST = 16


class Extent:
    """Corners of each sheet, part by part of the workbook as it is unpacked."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._sheet, self._tail = "", b""
        self._num_cells = 0
        self._rows: tuple[int, int] | None = None
        self._columns: tuple[int, int] | None = None

    def add(self, name: str, chunk: bytes) -> None:
        """The next bytes of a part. Errors: DataError where its cells lie too far apart."""
        if not name.startswith("xl/worksheets/"):
            return
        if name != self._sheet:
            self._sheet, self._tail, self._num_cells, self._rows, self._columns = name, b"", 0, None, None
        found = _CELL.findall(self._tail + chunk)
        self._tail = (self._tail + chunk[-_LONGEST:])[-_LONGEST:]
        if not found:
            return
        self._num_cells += len(found)
        self._rows = _span(self._rows, {int(row) for _, row in found})
        self._columns = _span(self._columns, {_number(letters) for letters in {letters for letters, _ in found}})
        places = (self._rows[1] - self._rows[0] + 1) * (self._columns[1] - self._columns[0] + 1)
        # A sheet is judged as it comes: where cells are dense there were many before the last one.
        if places > max(MAX_PLACES, self._num_cells * files.MAX_RATIO):
            raise DataError(
                f"{self.where}: {name} has {self._num_cells:,} cells so far, which lie in {self._rows[1]:,} rows and "
                f"{self._columns[1]:,} columns, far apart. Delete the lonely cells (Ctrl+End leads there), or save the sheet as CSV."
            )


def _span(before: tuple[int, int] | None, found: set[int]) -> tuple[int, int]:
    low, high = min(found), max(found)
    return (low, high) if before is None else (min(before[0], low), max(before[1], high))


def _number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number
