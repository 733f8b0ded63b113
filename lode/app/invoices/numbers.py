"""Gap-free numbers: given inside the transaction that issues, so a number that was not used up never existed."""

from __future__ import annotations

import re

from lode.app.books import journal
from lode.app.books.contracts import Session
from lode.core.errors import BillingError

TEMPLATES = {"invoice": "{year}-{number:06d}", "credit_note": "CN-{year}-{number:06d}"}
_FIELD = re.compile(r"\{(\w*)(?::0?(\d{1,2})d?)?\}")
_PLAIN = re.compile(r"[A-Za-z0-9._-]*", re.ASCII)


def check_template(template: str, where: str) -> str:
    """The template itself. Errors: BillingError unless it holds `{year}` and `{number}` once, else only letters, digits, `.`, `_`, `-`."""
    fields = [match.group(1) for match in _FIELD.finditer(template)]
    if sorted(fields) != ["number", "year"] or not _PLAIN.fullmatch(_FIELD.sub("", template)) or template.startswith((".", "-")):
        raise BillingError(
            f'{where}: found "{template}", wanted letters, digits, "-" and "_" with {{year}} and {{number:06d}} in it, '
            "each once. Write it like INV-{year}-{number:06d}."
        )
    return template


def fill(template: str, year: int, number: int) -> str:
    """A template with its values: `2026-000123`. Written out by hand because `str.format` reaches into objects."""

    def one(match: re.Match[str]) -> str:
        value = year if match.group(1) == "year" else number
        return str(value).zfill(int(match.group(2) or 0))

    return _FIELD.sub(one, template)


def take(session: Session, series: str, template: str, year: int) -> tuple[str, dict[str, int]]:
    """The next number of a series and year, and the counter that the issuing act must carry. Call inside `transact` only."""
    name = f"number|{series}|{year}"
    number = journal.counter(session, [name])[name] + 1
    return fill(template, year, number), {name: 1}
