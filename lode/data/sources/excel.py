"""One sheet of a workbook (.xlsx, .xlsm, .xlsb, .xls, .ods), read by calamine through fastexcel."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Annotated, Any

import fastexcel
import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import ColumnName, FilePath, Range
from lode.data.contracts import Source
from lode.data.formats import archives, files, workbook_size, workbook_times
from lode.data.place import Place

_ZIPPED = (".xlsx", ".xlsm", ".xlsb", ".ods")
_OLE = b"\xd0\xcf\x11\xe0"
"""How .xls files start, and encrypted .xlsx files."""
_UNNAMED = re.compile(r"__UNNAMED__(\d+)")
_NUMBERED = re.compile(r"(.+)_\d+")
_EXACT = float(1 << 53)
_NUMBER = r"^-?(?:0|[1-9]\d{0,14})(?:\.\d+)?(?:[eE][+-]?\d+)?$"
"""A number as the reader writes one: 01234 is a text, and so is a long number that would lose its last digits."""


class Excel(Source):
    """One sheet of a workbook. Dates, booleans and numbers are typed; a column that mixes them with words is text.

    Rows without a cell are left out and counted. A merged range has its value in its first cell; `fill_down` gives it to the cells
    below. Formulas count as the value that was saved with them, errors (#N/A, #DIV/0!) as missing. Times of day become text (13:05:00),
    durations seconds. The sheet is held in memory.

    Args:
        path: the file, relative to lode.yaml or to `--data DIR`.
        sheet: the sheet's name, or its number from 1.
        header: whether one row holds the column names.
        header_row: which row holds them, as the workbook counts; what stands above is left out.
        columns: column names of a sheet without a header.
        fill_down: columns whose empty cells take the value above them (merged cells).
        sha256: the expected sha256 of the file; checked before it is read.
        origin: where the file comes from; repeated in the error when it is missing.
    """

    def __init__(
        self,
        place: Place,
        *,
        path: FilePath,
        sheet: str | Annotated[int, Range(1)] = 1,
        header: bool = True,
        header_row: Annotated[int, Range(1)] = 1,
        columns: list[str] | None = None,
        fill_down: list[ColumnName] | None = None,
        sha256: str | None = None,
        origin: str | None = None,
    ) -> None:
        self.place, self.path, self.sheet, self.header, self.header_row = place, path, sheet, header, header_row
        self.columns, self.fill_down, self.sha256, self.origin = columns, fill_down or [], sha256, origin
        self.notes: list[str] = []
        self._is_hidden = False
        self._frame: pl.DataFrame | None = None

    def fingerprint(self) -> str:
        return files.sha256_of(files.find(self.place, self.path, None, self.origin))

    def scan(self) -> pl.LazyFrame:
        if self._frame is None:
            path = files.find(self.place, self.path, self.sha256, self.origin)
            self.num_bytes = path.stat().st_size
            self._frame = self._tidy(self._read(path))
        return self._frame.lazy()

    def _read(self, path: Path) -> pl.DataFrame:
        """The sheet as it stands, with the names that it will have."""
        if self.header and self.columns is not None:
            raise DataError(
                f"{self.path}: `columns` names the columns of a sheet without a header. Add `header: false`, or leave it out."
            )
        extent = workbook_size.Extent(self.path)
        with path.open("rb") as file:
            is_ole = file.read(4) == _OLE
        if is_ole and path.suffix.lower() in _ZIPPED:
            raise DataError(
                f"{self.path}: the workbook is encrypted, or an .xls file with another name. Save it without a password."
            )
        if path.suffix.lower() in _ZIPPED:
            archives.check_zip(path, extent.add)
        _quiet()
        try:
            workbook = fastexcel.read_excel(path)
            name = self._sheet_name(workbook.sheet_names)
            extent.check(name)
            try:
                sheet = self._loaded(workbook, name)
                columns = sheet.to_polars().get_columns()
            except fastexcel.FastExcelError:
                sheet = self._loaded(workbook, name, dtypes="string")
                columns = self._by_halves(workbook, name, [column.name for column in sheet.available_columns()])
            self._is_hidden = sheet.visible != "visible"
            names = self._names(workbook, name, [column.name for column in sheet.available_columns()])
        except (fastexcel.FastExcelError, pl.exceptions.PolarsError) as error:
            raise DataError(
                f"{self.path}: not readable as a workbook ({str(error).splitlines()[0]}). Save it again as .xlsx."
            ) from error
        return pl.DataFrame([column.alias(name) for column, name in zip(columns, names, strict=True)])

    def _loaded(self, workbook: fastexcel.ExcelReader, sheet: str, **options: Any) -> fastexcel.ExcelSheet:
        # All rows are looked at for a column's type: a guess from the first ones would lose words further down.
        header = self.header_row - 1 if self.header else None
        return workbook.load_sheet(sheet, header_row=header, schema_sample_rows=None, **options)

    def _by_halves(self, workbook: fastexcel.ExcelReader, sheet: str, names: list[str]) -> list[pl.Series]:
        """The columns where the reader cannot type one of them, which stops all: it is found by halves and read as text."""

        def some(which: list[int]) -> list[pl.Series]:
            try:
                return self._loaded(workbook, sheet, use_columns=which).to_polars().get_columns()
            except fastexcel.FastExcelError as error:
                if len(which) > 1:
                    middle = len(which) // 2
                    return some(which[:middle]) + some(which[middle:])
                if "cell error" in str(error):
                    return [self._without_errors(workbook, sheet, which)]
                raise DataError(
                    f'{self.path}: column "{names[which[0]]}" mixes durations with other cells. Give all of its cells one format.'
                ) from error

        return some(list(range(len(names)))) if names else []

    def _without_errors(self, workbook: fastexcel.ExcelReader, sheet: str, which: list[int]) -> pl.Series:
        """One column with errors (#NAME?) as missing cells; numbers where all others are."""
        column = self._loaded(workbook, sheet, use_columns=which, dtypes="string").to_polars().to_series()
        return column.cast(pl.Float64) if column.str.contains(_NUMBER).all() else column

    def _sheet_name(self, names: list[str]) -> str:
        if isinstance(self.sheet, int):
            if self.sheet > len(names):
                raise DataError(
                    f"{self.path}: sheet {self.sheet}, the workbook has {len(names)} ({listed(names)}). Name one of them."
                )
            return names[self.sheet - 1]
        if self.sheet not in names:
            raise DataError(
                f'{self.path}: no sheet "{self.sheet}", found {listed(names)}.{near_miss(self.sheet, names)} Name one of them.'
            )
        return self.sheet

    def _names(self, workbook: fastexcel.ExcelReader, sheet: str, found: list[str]) -> list[str]:
        """Names of the columns; those without one are called by their place."""
        files.check_width(self.path, len(found))
        if self.columns is not None:
            if len(self.columns) != len(found):
                raise DataError(
                    f"{self.path}: `columns` has {len(self.columns)} names, the sheet has {len(found)} columns. Name each once."
                )
            return list(self.columns)
        if self.header and any((match := _NUMBERED.fullmatch(name)) and match[1] in found for name in found):
            self._check_twice(workbook, sheet)
        unnamed = [place for place, name in enumerate(found) if _UNNAMED.fullmatch(name)]
        written = self._header(workbook, sheet) if self.header and unnamed else []
        if len(written) == len(found):
            # A header's cell that holds a date, or yes or no, is a name too.
            found = [written[place] or name if place in unnamed else name for place, name in enumerate(found)]
        names = [_UNNAMED.sub(lambda match: f"column_{int(match[1]) + 1}", name.strip()) for name in found]
        return [name or f"column_{index}" for index, name in enumerate(names, start=1)]

    def _header(self, workbook: fastexcel.ExcelReader, sheet: str) -> list[str]:
        """The cells of the header's row as text, "" where there is nothing."""
        raw = workbook.load_sheet(sheet, header_row=None, skip_rows=self.header_row - 1, n_rows=1, dtypes="string").to_polars()
        cells = raw.row(0) if raw.height else ()
        return ["" if cell is None else str(cell).strip().removesuffix(" 00:00:00") for cell in cells]

    def _check_twice(self, workbook: fastexcel.ExcelReader, sheet: str) -> None:
        """A second `id` comes as `id_1`, as a column of that name does: look at the header itself."""
        names = [name for name in self._header(workbook, sheet) if name]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f'{self.path}: the header names "{twice[0]}" {names.count(twice[0])} times. Rename one of them.')

    def _tidy(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Without rows and nameless columns that hold nothing, whole numbers as such, merged cells filled."""
        nameless = [name for name in frame.columns if name.startswith("column_") and frame[name].null_count() == frame.height]
        frame = frame.drop(nameless) if self.header else frame
        num_rows = frame.height
        frame = frame.filter(~pl.all_horizontal(pl.all().is_null())) if frame.width else frame.clear()
        if frame.is_empty():
            raise DataError(f"{self.path}: the sheet has no rows under its header. Name another `sheet`, or another `header_row`.")
        self.notes.clear()
        if self._is_hidden and isinstance(self.sheet, int):
            self.notes.append(
                f"{self.path}: sheet {self.sheet} is hidden in the workbook. Name another `sheet` if it is not meant."
            )
        frame = workbook_times.told(frame, self.path, self.notes)
        if frame.height < num_rows:
            num_empty = num_rows - frame.height
            self.notes.append(f"{self.path}: {num_empty:,} empty row{'s were' if num_empty > 1 else ' was'} left out.")
        for name in self.fill_down:
            if name not in frame.columns:
                raise DataError(
                    f'{self.path}: fill_down names the column "{name}", found {listed(frame.columns)}.{near_miss(name, frame.columns)}'
                )
        whole = [name for name, dtype in frame.schema.items() if dtype == pl.Float64 and _is_whole(frame[name])]
        return frame.with_columns(pl.col(whole).cast(pl.Int64)).with_columns(pl.col(self.fill_down).forward_fill())


def _quiet() -> None:
    """Keep fastexcel from writing about columns without a cell to the terminal, where nobody has asked for its log."""
    log = logging.getLogger("fastexcel")
    if not log.handlers:
        log.addHandler(logging.NullHandler())


def _is_whole(column: pl.Series) -> bool:
    """Whether all numbers are whole: a workbook knows no other kind, and 1.0 is no word for a class."""
    cells = column.drop_nulls()
    return bool(((cells == cells.floor()) & (cells.abs() < _EXACT)).all())
