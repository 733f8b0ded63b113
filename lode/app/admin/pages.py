"""Lists in pages: `limit` items, and in `next` a sealed word that leads to those behind them.

The word holds the name of the last item, so items that come and go meanwhile move nothing. Its seal covers the address and the rest of
the query: a word that was changed, or made for another list, is a 400.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from lode.app.books.pages import Span
from lode.app.contracts import RequestError
from lode.core.errors import BillingError

DEFAULT, MOST = 100, 1000
QUERY: Mapping[str, str] = {"limit": f"Items of one answer, 1 to {MOST}", "next": "As the page before says"}
_SEAL_LETTERS = 32

Row = dict[str, Any]
Name = Sequence[str | int]


@dataclass(frozen=True, slots=True)
class Page:
    """What one answer of a list may hold. limit: items at most. after: name of the last item before it, () for the first page."""

    limit: int
    after: tuple[str | int, ...]
    _place: bytes
    _pepper: bytes

    @property
    def span(self) -> Span:
        """For lists by id: one more than is shown, which says whether there is more."""
        return Span(str(self.after[0]) if self.after else "", self.limit + 1)

    def of(self, found: Row, items: str, name: Callable[[Row], Name]) -> Row:
        """An answer with its page of `items`, in the order of their names, and what leads to the next one."""
        named = sorted(((tuple(name(row)), row) for row in found[items]), key=lambda pair: pair[0])
        left = [pair for pair in named if not self.after or pair[0] > self.after]
        shown = left[: self.limit]
        return {**found, items: [row for _, row in shown], "next": self._word(shown[-1][0]) if len(left) > self.limit else None}

    def _word(self, name: Name) -> str:
        text = base64.urlsafe_b64encode(orjson.dumps(name)).rstrip(b"=").decode()
        return f"{text}.{_seal(self._place, text, self._pepper)}"


def page_of(query: Mapping[str, str], place: Sequence[object], pepper: bytes) -> Page:
    """The page that a query asks for. place: what the word is good for, the query's other words too.

    Errors: BillingError for a limit that is none; RequestError 400 for a word that was not given here.
    """
    where = orjson.dumps([*place, sorted((name, value) for name, value in query.items() if name not in QUERY)])
    return Page(number(query, "limit", DEFAULT, MOST), _after(query.get("next", ""), where, pepper), where, pepper)


def number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A whole number of a query. Errors: BillingError."""
    written = query.get(name, str(default))
    if not (written.isascii() and written.isdigit() and len(written) <= 9 and 1 <= int(written) <= most):
        raise BillingError(f'{name}: found "{written[:20]}", allowed: 1 to {most}. Write a whole number.')
    return int(written)


def _after(word: str, place: bytes, pepper: bytes) -> tuple[str | int, ...]:
    if not word:
        return ()
    text, _, seal = word.partition(".")
    if not hmac.compare_digest(_seal(place, text, pepper).encode(), seal.encode()):
        raise RequestError(400, "wrong_page", "next: found a word that no answer to this query gave. Begin again without it.")
    return tuple(orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))


def _seal(place: bytes, text: str, pepper: bytes) -> str:
    sealed = b"lode page|%d|%b|%b" % (len(place), place, text.encode())
    return hmac.digest(pepper, sealed, "sha256").hex()[:_SEAL_LETTERS]
