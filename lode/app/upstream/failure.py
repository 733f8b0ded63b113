"""A try that failed, and what is known of it."""

from __future__ import annotations

from lode.app.upstream.counting import Counted


class TryError(Exception):
    """A try that failed for the provider's fault.

    reason: one word, for the metric. text: goes on from the provider's name. pause_s: how long it asks to be left alone. lost: what it
    may have charged nevertheless. is_fault: also counts as a failure where it asks for a pause.
    """

    def __init__(
        self, reason: str, text: str, *, pause_s: float | None = None, lost: Counted | None = None, is_fault: bool = False
    ):
        super().__init__(text)
        self.reason, self.pause_s, self.lost = reason, pause_s, lost
        self.is_fault = is_fault or pause_s is None
