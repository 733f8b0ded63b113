"""How the options of one word must be to one another: the class says it in `fits`, a literal, so that `lode check` imports nothing.

    fits: ClassVar = (("width", "multiple of", "heads"), ("stride", "at most", "patch"))

The third word is another option or a number, for "multiple of" several of both; relations that look at one option only have None there.
An option that is left open (null) fits; of two of which one stands instead of the other, exactly one is there. Used by `core.check`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Relation = tuple[str, str, Any]
"""(option, relation, what it is held against)."""


def misfits(options: Mapping[str, Any], fits: tuple[Relation, ...]) -> Iterator[tuple[str, str, str]]:
    """(option, what is wrong, the other option or ""). options: of one word, defaults filled in, each of its own type."""
    for name, relation, against in fits:
        others = () if against is None else against if isinstance(against, tuple) else (against,)
        names = [other for other in others if isinstance(other, str)]
        beside = [options[other] if isinstance(other, str) else other for other in others]
        told = _one_of(name, options[name], against, beside[0]) if relation == "instead of" else None
        if relation != "instead of" and options[name] is not None and None not in beside:
            wrong = _RELATIONS[relation](name, options[name], beside)
            seen = "".join(f" beside {other}: {_shown(options[other])}" for other in names)
            told = None if wrong is None else f"found {wrong[0]}{seen}, allowed: {wrong[1]}"
        if told is not None:
            yield name, told, names[0] if names else ""


def _one_of(name: str, value: Any, other: str, beside: Any) -> str | None:
    """One of two options is there."""
    if (value is None) != (beside is None):
        return None
    found = f"neither {name} nor {other}" if value is None else f"both {name} and {other}"
    return f"found {found}, allowed: one of them. Write {name}: ... alone."


_Wrong = tuple[str, str] | None
"""What was found, and what is allowed with the next step; None where it fits."""


def _multiple(name: str, value: int, beside: list[Any]) -> _Wrong:
    step = math.lcm(*beside)
    nearest = max(1, math.floor(value / step + 0.5)) * step
    return (str(value), f"a multiple of {step}. Write {name}: {nearest}.") if value % step else None


def _at_most(name: str, value: float, beside: list[Any]) -> _Wrong:
    return (str(value), f"at most {beside[0]}. Write {name}: {beside[0]}.") if value > beside[0] else None


def _as_long(name: str, value: Any, beside: list[Any]) -> _Wrong:
    """A list with as many entries as another one, or as a number says; a number in place of the list fits."""
    wanted = beside[0] if isinstance(beside[0], int) else len(beside[0])
    if not isinstance(value, list | tuple) or len(value) == wanted:
        return None
    return _count(value), f"{wanted}. Write as many."


def _odd(name: str, value: int, beside: list[Any]) -> _Wrong:
    return (str(value), f"an odd number. Write {name}: {value + 1}.") if value % 2 == 0 else None


def _some(name: str, value: Any, beside: list[Any]) -> _Wrong:
    found, allowed = ("an empty text", "one letter") if isinstance(value, str) else ("an empty list", "one entry")
    return (found, f"{allowed} at least. Fill it, or remove {name}.") if len(value) == 0 else None


def _rising(name: str, value: Any, beside: list[Any]) -> _Wrong:
    if len(value) and list(value) == sorted(set(value)):
        return None
    return str(list(value)), f"rising numbers, none twice. Write for example {name}: {sorted(set(value)) or [0.1, 0.5, 0.9]}."


_RELATIONS: Mapping[str, Callable[[str, Any, list[Any]], _Wrong]] = {
    "multiple of": _multiple,
    "at most": _at_most,
    "as long as": _as_long,
    "odd": _odd,
    "not empty": _some,
    "rising": _rising,
}


def _count(value: Any) -> str:
    return f"{len(value)} {'entry' if len(value) == 1 else 'entries'}"


def _shown(value: Any) -> str:
    return "nothing" if value is None else _count(value) if isinstance(value, list | tuple) else str(value)
