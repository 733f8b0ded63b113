"""What `lode tune` may change: dimensions read from `tune.search`, or from the signatures where the file names none.

A dimension is an option of the file (`train.learning_rate`, `model.width`, `inputs.image.encoder`) with the values to try. The signature
says which: `Annotated[int, Range(1, search=(32, 512), log=True)]`. Loads nothing heavy: `lode check` reads it too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lode.core.check import Finding, shown, unknown_word
from lode.core.errors import listed
from lode.core.registry import REGISTRIES, section
from lode.core.signature import Option, OptionType, Signature
from lode.core.spec_train import ONLY_WITH
from lode.core.types import Key, Range

PLACES = "model, model.OPTION, train.OPTION, inputs.NAME.encoder or inputs.NAME.encoder.OPTION"
_BOUNDS = ("low", "high", "log", "points")


@dataclass(frozen=True, slots=True)
class Dimension:
    """One option and the values to try.

    name: as the file says it. key: where it stands. choices: the values, or empty where low and high bound a number.
    points: how many values of a number a grid tries. owner, words: the option exists only while the component, or the word, at `owner`
    is one of `words`; None where it always does.
    """

    name: str
    key: tuple[str, ...]
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    points: int = 4
    owner: tuple[str, ...] | None = None
    words: tuple[str, ...] = ()

    def grid(self) -> list[Any]:
        """Its values, or `points` of them, evenly spread."""
        if self.choices:
            return list(self.choices)
        low, high = self.low, self.high
        steps = [number / max(1, self.points - 1) for number in range(self.points)]
        found = [low * (high / low) ** step if self.log else low + (high - low) * step for step in steps]
        # A power may miss its end by one last digit
        found = [min(max(value, low), high) for value in found]
        return list(dict.fromkeys(round(value) if self.whole else value for value in found))

    @property
    def owner_key(self) -> tuple[str, ...] | None:
        """Where the word of the owner stands."""
        return self.owner if self.owner is None or self.owner[0] == "train" else (*self.owner, "type")

    def exists(self, tree: Mapping[str, Any]) -> bool:
        """Whether the file, with the values so far, has such an option."""
        return self.owner is None or _word(_at(tree, self.owner), self.owner) in self.words


def dimensions(tree: Mapping[str, Any], search: Mapping[str, Any] | None, findings: list[Finding]) -> list[Dimension]:
    """What the file asks to be searched, components before their options; without `tune.search` what the signatures propose.

    tree: the file as read. Problems become findings under `tune.search`.
    """
    if search is None:
        return list(_proposed(tree))
    found = []
    # A word comes before the options of what it names, and before those that only some words use.
    names = [name for name in search if isinstance(name, str)]  # another key is told where the section is read
    for name in sorted(names, key=lambda entry: (entry.count("."), entry.removeprefix("train.") in ONLY_WITH, entry)):
        key: Key = ("tune", "search", name)
        place = _place(tree, search, name, key, findings)
        made = None if place is None else _dimension(place, search[name], key, findings)
        if made is not None:
            found.append(made)
    return found


def applied(tree: Mapping[str, Any], values: Sequence[tuple[Dimension, Any]]) -> dict[str, Any]:
    """A copy of the file with the values in it, in the order given."""
    made: dict[str, Any] = dict(tree)
    for dimension, value in values:
        place: Any = made
        for part in dimension.key[:-1]:
            inner = place.get(part)
            # A word alone becomes a mapping that has room for options
            place[part] = dict(inner) if isinstance(inner, Mapping) else {} if inner is None else {"type": inner}
            place = place[part]
        place[dimension.key[-1]] = value
    return made


@dataclass(frozen=True, slots=True)
class _Place:
    """An option that may be searched: its dimension without values, and its type; kind: of a component, whose word is searched."""

    dimension: Dimension
    type: OptionType | None = None
    kind: str | None = None


def _proposed(tree: Mapping[str, Any]) -> Iterator[Dimension]:
    """Options whose signature says what to try and that the file leaves open."""
    for owner, signature in _components(tree):
        written = _at(tree, owner)
        for name, option in signature.options.items():
            if isinstance(written, Mapping) and written.get(name) is not None:
                continue
            bounds = _searched(option.type)
            if bounds is not None:
                yield _numeric(Dimension(".".join((*owner, name)), (*owner, name)), option.type, bounds)


def _components(tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Signature]]:
    """Where the options of the model, of its encoders and of the loop stand, with their signatures."""
    word = _word(tree.get("model"), ("model",))
    registry = REGISTRIES["family"]
    if not registry.has(word):
        return
    yield ("model",), registry.signature(word)
    if registry.constant(word, "loop"):
        yield ("train",), section("train")
    inputs = tree.get("inputs")
    for name, entry in inputs.items() if isinstance(inputs, Mapping) else ():
        encoder = entry.get("encoder") if isinstance(entry, Mapping) else None
        chosen = _word(encoder, ("inputs", name, "encoder"))
        if encoder is not None and REGISTRIES["encoder"].has(chosen):
            yield ("inputs", name, "encoder"), REGISTRIES["encoder"].signature(chosen)


def _place(tree: Mapping[str, Any], search: Mapping[str, Any], name: str, key: Key, findings: list[Finding]) -> _Place | None:
    """The option that a name means."""
    inputs = tree.get("inputs")
    named = [str(entry) for entry in inputs] if isinstance(inputs, Mapping) else []
    parts = _parts(name, named)
    if parts == ("model",):
        return _Place(Dimension(name, ("model", "type")), kind="family")
    if parts[0] == "model" and len(parts) == 2:
        return _option("family", ("model",), parts[1], tree, search, key, findings)
    if parts[0] == "train" and len(parts) == 2:
        return _of_section(parts[1], tree, search, key, findings)
    if parts[0] == "inputs" and len(parts) in (3, 4) and parts[2] == "encoder":
        if parts[1] not in named:
            findings.append(Finding(key, f"found the input {shown(parts[1])}, allowed: {listed(named) or 'inputs as a mapping'}."))
            return None
        owner = parts[:3]
        if len(parts) == 3:
            return _Place(Dimension(name, (*owner, "type")), kind="encoder")
        return _option("encoder", owner, parts[3], tree, search, key, findings)
    findings.append(Finding(key, f"found {shown(name)}, allowed: {PLACES}. Name an option of one of them."))
    return None


def _parts(name: str, inputs: Sequence[str]) -> tuple[str, ...]:
    """`inputs.age.encoder.width` at its points; names of inputs may have points too."""
    for entry in sorted(inputs, key=len, reverse=True):
        head = f"inputs.{entry}.encoder"
        if name == head or name.startswith(f"{head}."):
            rest = name[len(head) + 1 :]
            return ("inputs", entry, "encoder", *(rest.split(".") if rest else ()))
    return tuple(name.split("."))


def _of_section(word: str, tree: Mapping[str, Any], search: Mapping[str, Any], key: Key, findings: list[Finding]) -> _Place | None:
    """An option of the loop: it exists while the model is a family that trains by it."""
    option = section("train").options.get(word)
    if option is None:
        findings.append(Finding(key, unknown_word(word, section("train").options)))
        return None
    registry, words = REGISTRIES["family"], _families(tree, search)
    looping = [item for item in words if registry.has(item) and registry.constant(item, "loop")]
    if words and not looping and all(map(registry.has, words)):
        some = [item for item in registry.names() if registry.constant(item, "loop")]
        text = f"found beside model: {listed(words)}, which trains without it, allowed: {listed(some)}. Name one, or leave it out."
        findings.append(Finding(key, text))
        return None
    place = Dimension(f"train.{word}", ("train", word))
    other, users = ONLY_WITH.get(word, ("", ()))
    tried = search.get(f"train.{other}")
    if isinstance(tried, list):
        using = tuple(item for item in tried if item in users)
        if not using:
            text = f"found beside {other}: {listed(map(shown, tried))}, which may not use it, allowed with {other}: {', '.join(users)}."
            findings.append(Finding(key, f"{text} Try one of them too, or leave it out."))
            return None
        return _Place(replace(place, owner=("train", other), words=using), option.type)
    return _Place(place if looping == words else replace(place, owner=("model",), words=tuple(looping)), option.type)


def _families(tree: Mapping[str, Any], search: Mapping[str, Any]) -> list[str]:
    """Words that `model` may be: the one in the file, or those that are searched."""
    listed_words = search.get("model")
    words = listed_words if isinstance(listed_words, list) else [_at(tree, ("model",))]
    return [_word(item, ("model",)) for item in words]


def _option(
    kind: str,
    owner: tuple[str, ...],
    word: str,
    tree: Mapping[str, Any],
    search: Mapping[str, Any],
    key: Key,
    findings: list[Finding],
) -> _Place | None:
    """An option of the components that may stand at `owner`: the one in the file, or those that are searched."""
    registry = REGISTRIES[kind]
    listed_words = search.get(".".join(owner))
    words = [_word(item, owner) for item in listed_words] if isinstance(listed_words, list) else [_word(_at(tree, owner), owner)]
    known = {item: registry.signature(item).options for item in words if registry.has(item)}
    having = {item: options[word] for item, options in known.items() if word in options}
    if not any(words):
        text = f"found an option of an {kind}, and the file names none there, allowed: options of one that it names. "
        findings.append(Finding(key, text + f"Write `{owner[-1]}: ...`, or try several: `{'.'.join(owner)}: [...]`."))
        return None
    if not having:
        allowed = sorted({name for options in known.values() for name in options})
        findings.append(Finding(key, unknown_word(word, allowed)))
        return None
    option: Option = next(iter(having.values()))
    bound = Dimension(".".join((*owner, word)), (*owner, word))
    always = len(having) == len(words)
    return _Place(bound if always else replace(bound, owner=owner, words=tuple(having)), option.type)


def _dimension(place: _Place, value: Any, key: Key, findings: list[Finding]) -> Dimension | None:
    """The values that stand in the file: a list, bounds, or nothing, which asks the signature."""
    if isinstance(value, list):
        if len(value) < 2:
            findings.append(Finding(key, f"found {len(value)} values, allowed: two or more. With one, write it where it belongs."))
            return None
        twice = [item for place_of, item in enumerate(value) if _same(item) in map(_same, value[:place_of])]
        if twice:
            findings.append(Finding(key, f"found {shown(twice[0])} more than once, allowed: every value once."))
            return None
        if place.kind is not None:
            return _words(place, value, key, findings)
        return replace(place.dimension, choices=tuple(value))
    if place.kind is not None:
        some = listed(REGISTRIES[place.kind].names(), limit=16)
        findings.append(Finding(key, f"found {shown(value)}, allowed: a list of words ({some})."))
        return None
    bounds = _bounds_of(place, value, key, findings)
    return None if bounds is None else _numeric(place.dimension, place.type, bounds)


def _words(place: _Place, value: list[Any], key: Key, findings: list[Finding]) -> Dimension | None:
    registry = REGISTRIES[str(place.kind)]
    unknown = [item for item in value if not isinstance(item, str) or not registry.has(item)]
    findings += [Finding((*key, value.index(item)), registry.unknown(str(item))) for item in unknown]
    return None if unknown else replace(place.dimension, choices=tuple(value))


def _bounds_of(place: _Place, value: Any, key: Key, findings: list[Finding]) -> Mapping[str, Any] | None:
    proposed = None if place.type is None else _searched(place.type)
    if value is None and proposed is not None:
        return proposed
    words = [] if place.type is None else [word for item in _leaves(place.type) for word in item.words]
    what = f"a list of values{f' ({listed(words)})' if words else ''}, or {{low: ..., high: ..., log: true}} for a number"
    if not isinstance(value, Mapping) or not {"low", "high"} <= value.keys() or not _has_number(place.type):
        findings.append(Finding(key, f"found {shown(value)}, allowed: {what}."))
        return None
    unknown = [word for word in value if word not in _BOUNDS]
    findings += [Finding((*key, word), unknown_word(word, _BOUNDS)) for word in unknown]
    low, high, points = value["low"], value["high"], value.get("points", 4)
    if isinstance(points, bool) or not isinstance(points, int) or points < 2:
        findings.append(Finding((*key, "points"), f"found {shown(points)}, allowed: a whole number, at least 2."))
        return None
    numbers = all(isinstance(item, int | float) and not isinstance(item, bool) and math.isfinite(item) for item in (low, high))
    if unknown or not numbers or not low < high or (value.get("log") and low <= 0):
        findings.append(
            Finding(key, f"found low {shown(low)} and high {shown(high)}, allowed: low below high, above 0 where log is true.")
        )
        return None
    return value


def _numeric(dimension: Dimension, kind: OptionType | None, bounds: Mapping[str, Any]) -> Dimension:
    whole = kind is not None and all(item.name != "float" for item in _leaves(kind))
    return replace(
        dimension, low=float(bounds["low"]), high=float(bounds["high"]), log=bool(bounds.get("log")), whole=whole,
        points=int(bounds.get("points", 4)),
    )  # fmt: skip


def _searched(kind: OptionType) -> Mapping[str, Any] | None:
    """What the signature proposes for a number, or None."""
    for item in _leaves(kind):
        bounds: Range | None = item.range
        if bounds is not None and bounds.search is not None:
            return {"low": bounds.search[0], "high": bounds.search[1], "log": bounds.log}
    return None


def _same(value: Any) -> str:
    """Equal for values that a study could not tell apart."""
    return json.dumps(float(value) if isinstance(value, int) else value, sort_keys=True, default=str)


def _has_number(kind: OptionType | None) -> bool:
    return kind is not None and any(item.name in ("int", "float") for item in _leaves(kind))


def _leaves(kind: OptionType) -> list[OptionType]:
    return [leaf for item in kind.items for leaf in _leaves(item)] if kind.name == "union" else [kind]


def _at(tree: Mapping[str, Any], key: tuple[str, ...]) -> Any:
    found: Any = tree
    for part in key:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _word(value: Any, key: tuple[str, ...]) -> str:
    """The word of a component as the file says it; a model that names none is a network."""
    found = value.get("type") if isinstance(value, Mapping) else value
    return str(found) if found is not None else ("network" if key == ("model",) else "")
