"""A document as one HTML file: no script, nothing to fetch, a print stylesheet. Every word of it is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2

from lode.app.invoices.layout import page


def html(body: Mapping[str, Any]) -> str:
    """The page of a document's JSON. Same document, same text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lode.app.invoices", package_path=""), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )  # fmt: skip
    text: str = environment.get_template("invoice.html.jinja").render(page=page(body), currency=body["currency"])
    return text
