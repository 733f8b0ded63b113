"""Days and months of quotas and budgets, in the organisation's time zone: which one it is now, and when it ends."""

from __future__ import annotations

from lode.app.contracts import Limit
from lode.app.prices.periods import Period, period_of

_MOST = 4096


class Windows:
    """Remembers the current ones, so that the calendar is asked once a day."""

    def __init__(self) -> None:
        self._now: dict[tuple[str, str], Period] = {}

    def of(self, limit: Limit, zone: str, at_us: int) -> tuple[str, int | None]:
        """The counter's name, and when its window ends; None for never."""
        if limit.window == "total":
            return f"used|{limit.name}|", None
        key = (limit.window, zone)
        found = self._now.get(key)
        if found is None or not found.start_us <= at_us < found.end_us:
            if len(self._now) >= _MOST:
                self._now.clear()
            found = self._now[key] = period_of(at_us, 1, zone, "day" if limit.window == "day" else "month")
        return f"used|{limit.name}|{found.label}", found.end_us
