"""Issued documents as files: `RUNS/invoices/NUMBER.json`, `.html`, `.pdf`. They can be made again at any time, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from lode.app.invoices.html import html
from lode.core.errors import BillingError
from lode.core.packages import missing


def write(body: Mapping[str, Any], folder: Path, fonts: Sequence[Path] = ()) -> tuple[list[str], list[str]]:
    """Write a document; (paths, warnings). Files that stand there with the same bytes are left alone. fonts: `Seller.fonts`.

    Without fpdf2, or a font with its letters, there is no PDF, and a warning says how to get it: an invoice that is issued must not fail.
    """
    name = body["number"] or f"draft-{body['organisation']}-{body['period']['label']}"
    made = {
        "json": orjson.dumps(dict(body), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n",
        "html": html(body).encode(),
    }
    try:
        from lode.app.invoices.pdf import pdf
    except ModuleNotFoundError as error:
        warnings = [str(missing("PDF of invoices", error))]
    else:
        warnings = []
        try:
            made["pdf"] = pdf(body, fonts)
        except BillingError as error:
            warnings.append(str(error))
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix, data in made.items():
        path = folder / f"{name}.{suffix}"
        if not path.exists() or path.read_bytes() != data:
            part = path.with_name(f".{path.name}.part{os.getpid()}")
            part.write_bytes(data)
            part.replace(path)
        paths.append(str(path))
    return paths, [f"{name}: {warning}" for warning in warnings]
