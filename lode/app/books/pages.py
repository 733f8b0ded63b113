"""Things of one kind by id, some at a time. Letter by letter, so that SQLite and PostgreSQL give the same order, whatever its locale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from lode.app.books import journal
from lode.app.books.contracts import Document, Session


@dataclass(frozen=True, slots=True)
class Span:
    """Which of them. after: id of the last one that was seen, "" for the beginning. most: so many at most, None for all."""

    after: str = ""
    most: int | None = None


ALL = Span()


def documents(
    session: Session,
    kind: str,
    organisation: str | None = None,
    span: Span = ALL,
    keep: Callable[[Document], bool] = lambda document: True,
) -> list[Document]:
    """Those of a span that `keep` wants, by id. What it does not want counts for nothing: only the last page is shorter than `most`."""
    if span.most is None:
        return [item for item in journal.documents(session, kind, organisation) if item.id > span.after and keep(item)]
    found: list[Document] = []
    after = span.after
    while len(found) < span.most:
        part = _part(session, kind, organisation, after, span.most)
        found += filter(keep, part)
        if len(part) < span.most:
            break
        after = part[-1].id
    return found[: span.most]


def _part(session: Session, kind: str, organisation: str | None, after: str, most: int) -> list[Document]:
    owner, values = (
        ("", (kind, after, most)) if organisation is None else ("AND organisation = ? ", (kind, organisation, after, most))
    )
    found = session.rows(
        f"SELECT id, organisation, body FROM documents WHERE kind = ? {owner}"
        "AND id COLLATE BINARY > ? ORDER BY id COLLATE BINARY LIMIT ?",
        values,
    )
    return [Document(kind, id, owner, orjson.loads(body)) for id, owner, body in found]
