"""Operations whose answer is a file: exports of usage, invoices as HTML and PDF, the page of a model; and how a file is sent.

An export is made whole before its first byte is sent, in a file that has no name any more: the books are read at one moment and not held
while somebody reads slowly, what goes wrong is a status and never half a file, and no more than one page of rows is in memory.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from lode.app.access import roles
from lode.app.admin.commerce import own_number
from lode.app.admin.contracts import ORGANISATION, Call, File, Operation
from lode.app.admin.reports import WORTH, report_of
from lode.app.answering import Reply, Stream
from lode.app.contracts import RequestError
from lode.app.invoices import export, overview, usage
from lode.app.invoices.documents import CREDIT_NOTE, INVOICE
from lode.core import disk
from lode.core.errors import BillingError
from lode.core.packages import missing

_FORMATS: Mapping[str, tuple[str, str]] = {
    "csv": (".csv", "text/csv"), "parquet": (".parquet", "application/vnd.apache.parquet"), "focus": (".focus.csv", "text/csv"),
}  # fmt: skip
_HTML, _PDF = "text/html", "application/pdf"
_PART_BYTES = 1 << 18
# A page of ours has one style sheet inside and nothing else to run or to fetch; whatever a name in it pretends to be stays text.
_SANDBOX = b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"


def _export_all(call: Call) -> File:
    return _export(call, "", "all")


def _export_own(call: Call) -> File:
    return _export(call, call.organisation, call.organisation)


def _export(call: Call, organisation: str, name: str) -> File:
    word = call.query.get("format", "csv")
    if word not in _FORMATS:
        raise BillingError(f'format: found "{word[:20]}", allowed: {", ".join(_FORMATS)}. Choose one.')
    suffix, media_type = _FORMATS[word]
    what = usage.asked(organisation, call.query.get("from", ""), call.query.get("to", ""))
    issuer = ""
    if word == "focus":  # has what stands on invoices: fees, discounts, taxes, credit notes
        roles.require(call.principal, "invoice.read", organisation)
        issuer = call.seller().name
    try:
        with tempfile.TemporaryDirectory(prefix="lode-export-") as folder:
            path = Path(folder) / f"usage{suffix}"
            export.write(
                call.platform.store, what, path, issuer=issuer, providers=ORGANISATION not in call.path, now_us=call.platform.now_us
            )
            return File(media_type, path.open("rb"), f"usage-{name}{suffix}")
    except OSError as error:
        if not disk.is_full(error):
            raise
        text = "there is no room for the file. Ask for a shorter time, or later."
        raise RequestError(503, "no_room", text, headers=[(b"retry-after", b"60")]) from None


def _html(call: Call) -> File:
    from lode.app.invoices.html import html

    return File(_HTML, html(_document(call)).encode())


def _pdf(call: Call) -> File:
    try:
        from lode.app.invoices.pdf import pdf
    except ModuleNotFoundError as error:
        raise missing("PDF of invoices", error) from None
    body = _document(call)
    return File(_PDF, pdf(body, _fonts(call)), f"{body['number']}.pdf")


def _fonts(call: Call) -> Sequence[Path]:
    """To show a document again nobody needs to know who sells today."""
    try:
        return call.platform.seller().fonts
    except BillingError:
        return ()


def _document(call: Call) -> dict[str, object]:
    found: dict[str, object] = overview.show(call.platform.store, own_number(call, INVOICE, CREDIT_NOTE))["issued"][0]
    return found


def _page(call: Call) -> File:
    from lode.app.economics.page import page

    return File(_HTML, page(report_of(call)).encode())


def sent(file: File) -> Reply:
    """The answer that a file is."""
    headers = [(b"content-type", _typed(file.media_type))]
    if file.name:
        name = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in file.name)
        headers.append((b"content-disposition", f'attachment; filename="{name}"'.encode()))
    if file.media_type == _HTML:
        headers.append((b"content-security-policy", _SANDBOX))
    if isinstance(file.content, bytes):
        return 200, file.content, headers
    headers.append((b"content-length", b"%d" % os.fstat(file.content.fileno()).st_size))
    return 200, Stream(_parts(file.content), lambda failure: b"", ended=file.content.close), headers


async def _parts(content: BinaryIO) -> AsyncGenerator[bytes, None]:
    while part := await asyncio.to_thread(content.read, _PART_BYTES):
        yield part


def _typed(media_type: str) -> bytes:
    return f"{media_type}; charset=utf-8".encode() if media_type.startswith("text/") else media_type.encode()


_BILL = "/organisations/{organisation}/invoices/{invoice}"
_ASKED = {"format": f"{', '.join(_FORMATS)} (needs invoice.read)", "from": "2026-11-01 (UTC)", "to": "Up to then, not included"}
_TYPES = tuple(dict.fromkeys(media_type for _, media_type in _FORMATS.values()))

OPERATIONS = (
    Operation("GET", "/usage/export", "usage.export", "Every request of all customers as a file", _export_all, "Usage", query=_ASKED,
              files=_TYPES, slow=True),
    Operation("GET", "/organisations/{organisation}/usage/export", "usage.read", "Every request of it as a file", _export_own, "Usage",
              query=_ASKED, files=_TYPES, slow=True),
    Operation("GET", f"{_BILL}/html", "invoice.read", "An invoice or a credit note as a page", _html, "Invoices", files=(_HTML,)),
    Operation("GET", f"{_BILL}/pdf", "invoice.read", "An invoice or a credit note as a PDF", _pdf, "Invoices", files=(_PDF,)),
    Operation("GET", "/models/{model}/worth/page", "worth.read", "What a model is worth, as a page", _page, "Economics", query=WORTH,
              files=(_HTML,), slow=True),
)  # fmt: skip
