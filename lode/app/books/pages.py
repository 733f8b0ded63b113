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
    keep: Callable[[Document], bool] | None = None,
) -> list[Document]:
    """Those of a span, of the ones that `keep` wants, by id."""
    if span.most is not None and keep is None:
        return _part(session, kind, organisation, span.after, span.most)
    # Read at once: in parts, whoever asks for few of the few that are wanted would make the database search as often as there are others.
    found = journal.documents(session, kind, organisation)
    return [item for item in found if item.id > span.after and (keep is None or keep(item))][: span.most]


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
