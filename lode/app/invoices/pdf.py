"""A document as a PDF (fpdf2, DejaVu Sans from matplotlib). Same document and fonts, same bytes.

DejaVu Sans knows Latin, Greek, Cyrillic, Hebrew, Arabic, Armenian, Georgian and signs. For Chinese, Japanese or Korean the seller file
names fonts; what no font has is an error, never a box in place of a letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fontTools.ttLib import TTLibError
from fpdf import FPDF
from fpdf.enums import MethodReturnValue, XPos, YPos
from fpdf.errors import FPDFException
from fpdf.fonts import TTFFont

from lode.app.invoices import customers
from lode.app.invoices.layout import Page, Row, page
from lode.core.errors import BillingError

_FAMILY = "DejaVu"
_WIDTHS_MM = (9, 71, 30, 22, 21, 27)
_HEADINGS = ("#", "Description", "Quantity", "Unit price", "Tax", "Amount")
_MARGIN_MM, _LINE_MM, _BOTTOM_MM = 15, 4.6, 282


class _Sheet(FPDF):
    """A4 pages with the document's number and the page's below."""

    def __init__(self, foot: str):
        super().__init__(unit="mm", format="A4")
        self._foot = foot

    def footer(self) -> None:
        self.set_y(-12)
        self.set_font(_FAMILY, size=7)
        self.set_text_color(110)
        self.cell(0, 4, f"{self._foot}   page {self.page_no()} of {{nb}}", align="C")
        self.set_text_color(0)


def pdf(body: Mapping[str, Any], fonts: Sequence[Path] = ()) -> bytes:
    """The PDF of a document's JSON. fonts: for letters that DejaVu Sans has not, in this order.

    Errors: BillingError where a letter is in none of them, naming it and the setting.
    """
    shown = page(body)
    sheet = _Sheet(f"{shown.title} {shown.number}".strip())
    sheet.set_creation_date(customers.moment(shown.issued_us))
    sheet.set_title(f"{shown.title} {shown.number}".strip())
    sheet.set_author(shown.seller[0])
    sheet.set_lang("en")
    folder = _folder()
    sheet.add_font(_FAMILY, "", folder / "DejaVuSans.ttf")
    sheet.add_font(_FAMILY, "B", folder / "DejaVuSans-Bold.ttf")
    _add(sheet, fonts)
    sheet.set_margins(_MARGIN_MM, _MARGIN_MM)
    sheet.set_auto_page_break(auto=True, margin=18)
    text = _Known({letter for font in sheet.fonts.values() if isinstance(font, TTFFont) for letter in font.cmap})
    _set(sheet, shown, text, body["currency"])
    if text.unknown:
        raise BillingError(
            f"no font has {''.join(sorted(text.unknown)[:20])}, so there is no PDF; the HTML shows it. Name a font file that has it in the "
            'seller file, like fonts = ["/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"] (Debian: fonts-noto-cjk).'
        )
    return bytes(sheet.output())


def _add(sheet: FPDF, fonts: Sequence[Path]) -> None:
    """Fonts to fall back to, bold text too."""
    for number, path in enumerate(fonts):
        try:
            sheet.add_font(f"other{number}", "", path)
        except (OSError, TTLibError, FPDFException) as error:
            raise BillingError(
                f'fonts: found "{path}", wanted a TrueType or OpenType font ({error}). Correct the seller file.'
            ) from None
    sheet.set_fallback_fonts([f"other{number}" for number in range(len(fonts))], exact_match=False)


def _folder() -> Path:
    """The folder of matplotlib's fonts, without importing matplotlib."""
    spec = find_spec("matplotlib")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"


class _Known:
    """Text as it is; remembers letters that no font has."""

    def __init__(self, known: set[int]):
        self._known = known
        self.unknown: set[str] = set()

    def __call__(self, text: str) -> str:
        self.unknown |= {letter for letter in text if ord(letter) not in self._known and letter not in "\n"}
        return text


def _set(sheet: _Sheet, shown: Page, text: _Known, currency: str) -> None:
    sheet.add_page()
    sheet.set_font(_FAMILY, "B", 16)
    sheet.multi_cell(0, 8, text(f"{shown.title} {shown.number}".strip()), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    if shown.is_draft:
        sheet.set_font(_FAMILY, "B", 9)
        sheet.multi_cell(
            0, 6, "Draft: not issued, no number, nothing is due. Figures may change.", new_x=XPos.LMARGIN, new_y=YPos.NEXT
        )
    sheet.ln(3)
    _parties(sheet, shown, text)
    sheet.set_font(_FAMILY, size=9)
    for label, value in shown.facts:
        sheet.cell(38, _LINE_MM, text(label))
        sheet.multi_cell(0, _LINE_MM, text(value), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    sheet.ln(4)
    _table(sheet, shown, text, currency)
    _totals(sheet, shown, text)
    sheet.set_font(_FAMILY, size=9)
    for note in shown.notes:
        sheet.multi_cell(0, _LINE_MM, text(note), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        sheet.ln(1)
    if shown.seal:
        sheet.set_font(_FAMILY, size=6)
        sheet.multi_cell(0, 4, f"SHA-256 of the issued document: {shown.seal}", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _parties(sheet: _Sheet, shown: Page, text: _Known) -> None:
    """Seller on the left, customer on the right."""
    top, bottom = sheet.get_y(), 0.0
    for left, heading, lines in ((_MARGIN_MM, "From", shown.seller), (110, "To", shown.customer)):
        sheet.set_xy(left, top)
        sheet.set_font(_FAMILY, size=7)
        sheet.cell(85, 4, heading, new_x=XPos.LEFT, new_y=YPos.NEXT)
        for index, line in enumerate(lines):
            sheet.set_font(_FAMILY, "B" if index == 0 else "", 9)
            sheet.multi_cell(85, _LINE_MM, text(line), align="L", new_x=XPos.LEFT, new_y=YPos.NEXT)
        bottom = max(bottom, sheet.get_y())
    sheet.set_xy(_MARGIN_MM, bottom + 4)


def _table(sheet: _Sheet, shown: Page, text: _Known, currency: str) -> None:
    _headings(sheet, currency)
    for row in shown.rows:
        cells = [text(cell) for cell in _cells(row)]
        sheet.set_font(_FAMILY, size=8)
        height = max(_num_lines(sheet, width, cell) for width, cell in zip(_WIDTHS_MM, cells, strict=True)) * _LINE_MM
        if sheet.get_y() + height > _BOTTOM_MM - 10:
            sheet.add_page()
            _headings(sheet, currency)
            sheet.set_font(_FAMILY, size=8)
        _one_row(sheet, cells, height)
    sheet.ln(3)


def _num_lines(sheet: _Sheet, width_mm: float, text: str) -> int:
    lines = sheet.multi_cell(width_mm, _LINE_MM, text, dry_run=True, output=MethodReturnValue.LINES)
    assert isinstance(lines, list)
    return len(lines)


def _cells(row: Row) -> tuple[str, ...]:
    return (row.line, f"{row.text}\n{row.span}" if row.span else row.text, row.quantity, row.unit_price, row.tax, row.amount)


def _one_row(sheet: _Sheet, cells: list[str], height: float) -> None:
    top, left = sheet.get_y(), float(_MARGIN_MM)
    for index, (width, cell) in enumerate(zip(_WIDTHS_MM, cells, strict=True)):
        sheet.set_xy(left, top)
        sheet.multi_cell(width, _LINE_MM, cell, align="R" if index in (2, 3, 5) else "L")
        left += width
    sheet.set_draw_color(200)
    sheet.line(_MARGIN_MM, top + height + 0.5, left, top + height + 0.5)
    sheet.set_draw_color(0)
    sheet.set_xy(_MARGIN_MM, top + height + 1)


def _headings(sheet: _Sheet, currency: str) -> None:
    sheet.set_font(_FAMILY, "B", 8)
    for index, (width, word) in enumerate(zip(_WIDTHS_MM, _HEADINGS, strict=True)):
        sheet.cell(
            width, 6, f"{word} {currency}" if word == "Amount" else word, align="R" if index in (2, 3, 5) else "L", border="B"
        )
    sheet.ln(7)


def _totals(sheet: _Sheet, shown: Page, text: _Known) -> None:
    if sheet.get_y() + (len(shown.totals) + 2) * 6 > _BOTTOM_MM - 10:
        sheet.add_page()
    for bold, (label, value) in [*((False, row) for row in shown.totals), (True, shown.due)]:
        sheet.set_font(_FAMILY, "B" if bold else "", 10 if bold else 9)
        sheet.set_x(75)
        sheet.cell(75, 6, text(label), border="T" if bold else 0)
        sheet.cell(45, 6, text(value), align="R", border="T" if bold else 0, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    sheet.ln(4)
