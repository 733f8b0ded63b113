"""A transport that writes once in each turn of the loop: uvicorn writes head and body one after the other, a system call each."""

from __future__ import annotations

import asyncio
from typing import Any

_LARGE = 65536
"""Bytes that wait at most; then uvicorn must hear from the transport how much is in the way."""


class Joining:
    """Has what uvicorn asks of a transport."""

    __slots__ = ("_loop", "_num_bytes", "_parts", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop):
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []
        self._num_bytes = 0

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)
        self._num_bytes += len(data)
        if self._num_bytes > _LARGE:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def _flush(self) -> None:
        if self._parts:
            self._transport.write(b"".join(self._parts))
            self._parts, self._num_bytes = [], 0
