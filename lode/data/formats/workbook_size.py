"""How far the cells of a workbook's sheets lie apart: its reader makes room for the whole rectangle, and one cell in the last corner
would be 17 thousand million places. Used by lode/data/sources/excel.py.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from xml.etree import ElementTree

from lode.core.errors import DataError
from lode.data.formats import files

MAX_PLACES = 1 << 25
"""So many are given to any sheet; to others `files.MAX_RATIO` times its cells."""

_CELL = re.compile(rb'\sr="([A-Z]{1,3})([0-9]{1,7})"[^>/]{0,64}>\s?<[^/]')
"""A cell that holds something: the reader passes over those that are only coloured."""
_LONGEST = 96
_SHEETS, _PARTS = "xl/workbook.xml", "xl/_rels/workbook.xml.rels"
_MAX_LIST_BYTES = 1 << 22


@dataclass(slots=True)
class _Box:
    """Cells of one sheet, and their corners."""

    num_cells: int
    rows: tuple[int, int]
    columns: tuple[int, int]

    def is_too_large(self) -> bool:
        places = (self.rows[1] - self.rows[0] + 1) * (self.columns[1] - self.columns[0] + 1)
        return places > max(MAX_PLACES, self.num_cells * files.MAX_RATIO)


class Extent:
    """Corners of each sheet, part by part of the workbook as it is unpacked."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._part, self._tail = "", b""
        self._boxes: dict[str, _Box] = {}
        self._lists = {_SHEETS: b"", _PARTS: b""}

    def add(self, name: str, chunk: bytes) -> None:
        """The next bytes of a part."""
        if name in self._lists and len(self._lists[name]) < _MAX_LIST_BYTES:
            self._lists[name] += chunk
        if not name.startswith("xl/worksheets/"):
            return
        if name != self._part:
            self._part, self._tail = name, b""
        found = _CELL.findall(self._tail + chunk)
        self._tail = (self._tail + chunk[-_LONGEST:])[-_LONGEST:]
        if not found:
            return
        rows = {int(row) for row in {row for _, row in found}}
        columns = {_number(letters) for letters in {letters for letters, _ in found}}
        box = self._boxes.setdefault(name, _Box(0, (min(rows), max(rows)), (min(columns), max(columns))))
        box.num_cells += len(found)
        box.rows = min(box.rows[0], *rows), max(box.rows[1], *rows)
        box.columns = min(box.columns[0], *columns), max(box.columns[1], *columns)

    def check(self, sheet: str) -> None:
        """Errors: DataError where the cells of that sheet lie too far apart; of any sheet where its part is not known."""
        part = self._part_of(sheet)
        for name, box in self._boxes.items():
            if (part is None or name == part) and box.is_too_large():
                shown = name if part is None else f'the sheet "{sheet}"'
                raise DataError(
                    f"{self.where}: {shown} has {box.num_cells:,} cells, which lie in {box.rows[1]:,} rows and "
                    f"{box.columns[1]:,} columns, far apart. Delete the lonely cells (Ctrl+End leads there), or save the sheet as CSV."
                )

    def _part_of(self, sheet: str) -> str | None:
        """The name of the part that holds a sheet; None where the workbook does not say."""
        try:
            sheets, parts = (ElementTree.fromstring(self._lists[name]) for name in (_SHEETS, _PARTS))
        except ElementTree.ParseError:
            return None
        wanted = [
            value for item in sheets.iter() if item.get("name") == sheet for key, value in item.items() if key.endswith("}id")
        ]
        targets = [item.get("Target", "") for item in parts if item.get("Id") in wanted]
        return posixpath.normpath(posixpath.join("/xl", targets[0])).lstrip("/") if len(targets) == 1 else None


def _number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number
