"""`--open`: no key is asked for, nothing is counted."""

from __future__ import annotations

from collections.abc import Mapping

from lode.app.contracts import Asked, Caller, Gate, Hold, Kept, Usage

_CALLER = Caller("open")


class OpenGate(Gate):
    """Lets everybody do everything."""

    async def authorize(self, headers: Mapping[bytes, bytes], scope: str = "predict") -> Caller:
        return _CALLER

    async def reserve(self, caller: Caller, asked: Asked) -> Hold:
        return Hold(caller, asked)

    async def settle(self, hold: Hold, usage: Usage, kept: Kept | None = None) -> Kept | None:
        return None

    def release(self, hold: Hold) -> None:
        """Nothing is held."""
