"""Rules between `model: auto` or `model: ensemble` and the rest of the file: who is listed can learn the outputs, who is pinned is tried.

What is found here would else be found when the data were read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lode.core.check import Finding
from lode.core.errors import listed
from lode.core.registry import REGISTRIES
from lode.core.spec_words import LISTS, learns
from lode.core.types import Component, Key

_AVERAGED = ("classes", "number", "labels", "quantiles", "tags")
"""Kinds of tasks of which the mean of several answers means something (`lode/model/pooling.py`)."""


def check_candidates(model: Component, tasks: Sequence[str], findings: list[Finding]) -> None:
    """tasks: words of the outputs' tasks, as far as the file names them."""
    kinds = {word: kind for word in dict.fromkeys(tasks) if (kind := REGISTRIES["task"].constant(word, "kind")) is not None}
    word = LISTS.get(model.type)
    written = model.options.get(word) if word else None
    if word is not None and isinstance(written, list):
        findings += _listed(("model", word), written, kinds)
    if model.type == "ensemble":
        findings += _apart(kinds)
    if model.type == "auto" and isinstance(model.options.get("rounds"), Mapping) and isinstance(written, list):
        findings += _pinned(model.options["rounds"], written, kinds)


def _listed(key: Key, written: Sequence[Any], kinds: Mapping[str, str]) -> Iterator[Finding]:
    """An empty list, a family that cannot learn an output."""
    words = REGISTRIES["family"].names()
    able = [word for word in words if set(kinds.values()) <= set(learns(word))]
    if not written:
        yield Finding(key, f"found an empty list, allowed: {', '.join(able)}.")
    for place, entry in enumerate(written):
        family = entry.type if isinstance(entry, Component) else entry
        if family in words and family not in able:  # other words are told already
            wrong = [word for word, kind in kinds.items() if kind not in learns(family)]
            yield Finding((*key, place), f'found "{family}", which cannot learn {listed(wrong)}, allowed: {listed(able)}.')


def _apart(kinds: Mapping[str, str]) -> Iterator[Finding]:
    wrong = [word for word, kind in kinds.items() if kind not in _AVERAGED]
    if wrong:
        text = f"found an ensemble, which takes the mean of answers; of {listed(wrong)} it means nothing, allowed: one family. Name it."
        yield Finding(("model",), text)


def _pinned(rounds: Mapping[str, Any], written: Sequence[Any], kinds: Mapping[str, str]) -> Iterator[Finding]:
    """Names of `rounds` that are neither a baseline nor listed; the second of one family is `trees-2`."""
    families = [entry.type if isinstance(entry, Component) else str(entry) for entry in written]
    own = [REGISTRIES["task"].constant(word, "baselines") or () for word in kinds]
    names = {"constant", "linear", "trees", *(word for words in own for word in words)}
    for place, family in enumerate(families):
        count = families[: place + 1].count(family)
        names.add(family if count == 1 else f"{family}-{count}")
    unknown = sorted(set(rounds) - names)
    if unknown:
        yield Finding(("model", "rounds"), f"found {listed(unknown)}, allowed: {listed(sorted(names))}.")
