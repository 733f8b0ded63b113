"""Tiers of a price: where they end, what a unit costs in them, and the flat fee of reaching them. For `graduated` and `volume`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lode.app.prices.contracts import Options
from lode.core.check import shown, unknown_word

_KEYS = ("up_to", "price", "flat")
_MOST_TIERS = 100
_LARGEST = 10**18


@dataclass(frozen=True, slots=True)
class Tiers:
    """Whole numbers only. ends: last unit of each tier but the last, which has no end: a boundary belongs to the lower tier.

    prices, flats: one per tier, 10^-12 units; prices for `per` units.
    """

    ends: tuple[int, ...]
    prices: tuple[int, ...]
    flats: tuple[int, ...]

    def index(self, quantity: int) -> int:
        """The tier that the last of `quantity` units falls into; 0 for none."""
        return bisect_left(self.ends, quantity)


def read(written: Sequence[Mapping[str, Any]], options: Options) -> Tiers:
    """Tiers as a plan writes them: [{up_to = 1000, price = "0.01"}, {price = "0.008", flat = "5"}]. Problems go into `options`."""
    if not 1 <= len(written) <= _MOST_TIERS:
        options.add(("tiers",), f"found {len(written)} tiers, allowed: 1 to {_MOST_TIERS}. Write one at least.")
        return Tiers((), (0,), (0,))
    ends: list[int] = []
    prices, flats = [], []
    for place, tier in enumerate(written):
        for name in tier:
            if name not in _KEYS:
                options.add(("tiers", place, name), unknown_word(name, _KEYS))
        if "price" not in tier and "flat" not in tier:
            options.add(("tiers", place), 'found neither price nor flat, allowed: one at least. Write price = "0.01".')
        prices.append(options.amount(tier.get("price", "0"), "tiers", place, "price"))
        flats.append(options.amount(tier.get("flat", "0"), "tiers", place, "flat"))
        _end(tier.get("up_to"), place, place == len(written) - 1, ends, options)
    return Tiers(tuple(ends), tuple(prices), tuple(flats))


def _end(value: Any, place: int, is_last: bool, ends: list[int], options: Options) -> None:
    """Adds a tier's end, or says what is wrong with it."""
    key = ("tiers", place, "up_to")
    if is_last:
        if value is not None:
            found = shown(value) if not isinstance(value, int) or abs(value) < 10**40 else "a large number"
            options.add(
                key, f"found {found} in the last tier, allowed: none: every quantity has a price. Add a tier without up_to."
            )
        return
    least = ends[-1] + 1 if ends else 1
    if value is None:
        options.add(key, "found nothing, allowed: only the last tier has no end. Add up_to, or remove the tiers after it.")
    elif not isinstance(value, int) or isinstance(value, bool) or abs(value) >= _LARGEST:
        options.add(key, f"found {type(value).__name__} {str(value)[:40]}, allowed: a whole number below 10^18. Correct it.")
    elif value < least:
        why = f"tier {place} ends at {ends[-1]}, so the two overlap" if ends else "a tier holds one unit at least"
        options.add(key, f"found {value}, allowed: {least} or more: {why}. Write tiers in ascending order.")
    else:
        ends.append(value)
        return
    ends.append(least)  # keeps the later tiers comparable


def widest(total: Callable[[int], int], ends: Sequence[int], count: int, *, least: int, later: bool, falls: bool) -> int:
    """The most by which `total` can rise over at most `count` units that begin behind `least`, or (later) anywhere after it; exact.

    `total` is linear between the ends and jumps behind them, so the most is reached where one side stands beside an end.
    falls: whether fewer units than `count` can cost more.
    """
    starts = {least}
    for end in ends if later else ():
        starts.update(place for place in (end, end + 1, end - count, end - count + 1) if place >= least)
    most = 0
    for start in starts:
        stops = [start + count]
        if falls:
            stops += [place for end in ends for place in (end, end + 1) if start < place < start + count]
        base = total(start)
        most = max(most, *(total(stop) - base for stop in stops))
    return most
