"""The same request id again: the same answer, never a second bill. On the event loop; reads in a thread of its own.

In this process a duplicate waits for the first. Where another process is answering it, both run, and the commit decides:
the second gets what the first was answered, and nothing is billed twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lode.app.books.contracts import Session, Store
from lode.app.contracts import Asked, Caller, Kept, RequestError
from lode.app.metering.groups import Groups
from lode.app.metering.writer import kept_answer

Name = tuple[str, str]
"""Organisation and request id."""

_WAIT_S = 30.0


class Answers:
    """What was answered, and what is being answered."""

    def __init__(self, store: Store):
        self._store = store
        self._reads: Groups[Name, tuple[str, Kept | None] | None] = Groups(self._read, name="lode-answers")
        self._running: dict[Name, tuple[str, asyncio.Event]] = {}

    async def before(self, caller: Caller, asked: Asked) -> Kept | None:
        """The answer that this request was given before; None where it is to be answered now: then `over` must follow.

        Errors: RequestError 409 where the id was used for something else, or its answer is not kept any more.
        """
        name = (caller.organisation, asked.request_id)
        await self._first(name, asked.fingerprint)
        self._running[name] = (asked.fingerprint, asyncio.Event())
        is_new = False
        try:
            found = await self._reads.add(name)
            is_new = found is None
        finally:
            if not is_new:
                self.over(caller, asked)
        return None if found is None else _again(asked, *found)

    def over(self, caller: Caller, asked: Asked) -> None:
        """The request that was answered now has ended, however."""
        running = self._running.pop((caller.organisation, asked.request_id), None)
        if running is not None:
            running[1].set()

    async def close(self) -> None:
        await self._reads.close()

    async def _first(self, name: Name, fingerprint: str) -> None:
        """Wait until nobody else is being answered under that name."""
        try:
            async with asyncio.timeout(_WAIT_S):
                while name in self._running:
                    found, ended = self._running[name]
                    if found != fingerprint:
                        raise _conflict(name[1])
                    await ended.wait()
        except TimeoutError:
            text = f"{name[1]}: this request is being answered. Try again in 1 s to get its answer."
            raise RequestError(409, "in_progress", text, headers=[(b"retry-after", b"1")]) from None

    def _read(self, names: Sequence[Name]) -> list[tuple[str, Kept | None] | None]:
        """In the thread: fingerprint and answer of each, None where the id is new. Errors: BooksError."""
        with self._store.view() as session:
            return [_found(session, name) for name in names]


def _found(session: Session, name: Name) -> tuple[str, Kept | None] | None:
    sql = "SELECT fingerprint FROM journal WHERE organisation = ? AND reference = ? AND reference <> ''"
    for (fingerprint,) in session.rows(sql, name):
        return str(fingerprint), kept_answer(session, *name)
    return None


def _again(asked: Asked, fingerprint: str, kept: Kept | None) -> Kept:
    if fingerprint != asked.fingerprint:
        raise _conflict(asked.request_id)
    if kept is None:
        text = f"{asked.request_id}: this request was answered and billed, and its answer is not kept any more. Take a new id to ask anew."
        raise RequestError(409, "answer_gone", text)
    return kept


def _conflict(request_id: str) -> RequestError:
    text = f"{request_id}: this id was used for another request. Take a new id for a new request."
    return RequestError(409, "idempotency_conflict", text)
