"""A transport that joins what is written in one turn of the loop."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from lode.app.connection import Joining


class Sink:
    """A transport that notes what reaches it."""

    def __init__(self) -> None:
        self.seen: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.seen.append(data)

    def close(self) -> None:
        self.seen.append("closed")


def _seen(*steps: bytes | None) -> list[bytes | str]:
    """What reaches the wire of writes; None lets the loop turn."""

    async def go() -> list[bytes | str]:
        sink = Sink()
        joining = Joining(cast(Any, sink), asyncio.get_running_loop())
        for step in steps:
            if step is None:
                await asyncio.sleep(0)
            else:
                joining.write(step)
        joining.close()
        return sink.seen

    return asyncio.run(go())


def test_head_and_body_leave_together() -> None:
    assert _seen(b"head", b"body", None) == [b"headbody", "closed"]


def test_what_is_written_before_the_end_leaves_before_it() -> None:
    assert _seen(b"head", b"body") == [b"headbody", "closed"]


def test_a_part_waits_for_no_later_turn() -> None:
    assert _seen(b"head", None, b"part", None) == [b"head", b"part", "closed"]


def test_large_parts_leave_at_once_and_in_order() -> None:
    large = b"x" * 70_000
    assert _seen(b"head", large, b"tail", None) == [b"head" + large, b"tail", "closed"]
