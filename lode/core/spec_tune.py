"""The section `tune:` beside the rest of the file: every value that would be tried must be one that the file may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lode.core.check import Finding
from lode.core.search import Dimension, applied, dimensions
from lode.core.spec_reader import SpecReader
from lode.core.spec_rules import check_rules

_MADE_OF_FAMILIES = ("auto", "ensemble")


def check_search(tree: Mapping[str, Any], findings: list[Finding]) -> None:
    """Append a Finding for every dimension, and every value of one, that the rest of the file does not allow."""
    tune = tree.get("tune")
    if not isinstance(tune, Mapping):
        return
    model = tree.get("model")
    word = model.get("type") if isinstance(model, Mapping) else model
    search = tune.get("search")
    if search is not None and not isinstance(search, Mapping):
        return  # its type is told already
    if word in _MADE_OF_FAMILIES and "model" not in (search or {}):
        text = f"found beside model: {word}, which tries families itself, allowed: one family. Name it, or give tune.search.model a list."
        findings.append(Finding(("tune",), text))
        return
    train = tree.get("train")
    if (isinstance(train, Mapping) and train.get("budget") is not None) or "train.budget" in (search or {}):
        text = (
            "found beside train.budget, which ends fits by the clock so that trials do not compare, allowed: tune.budget. Use that."
        )
        findings.append(Finding(("tune",), text))
        return
    known = _texts(tree)
    for dimension in dimensions(tree, search, findings):
        if search is not None:
            _check_values(tree, dimension, search, known, findings)


def _check_values(
    tree: Mapping[str, Any], dimension: Dimension, search: Mapping[str, Any], known: set[str], findings: list[Finding]
) -> None:
    values = dimension.choices or (dimension.low, dimension.high)
    for index, value in enumerate(values):
        value = round(value) if dimension.whole and not dimension.choices else value
        pairs = [(dimension, value)]
        if dimension.owner is not None:
            word = Dimension("", (*dimension.owner, "type"))
            pairs.insert(0, (word, dimension.words[0]))
        place = index if dimension.choices else ("low", "high")[index]
        wrong = sorted(_texts(applied(tree, pairs)) - known)
        findings += [Finding(("tune", "search", dimension.name, place), text) for text in wrong]


def _texts(tree: Mapping[str, Any]) -> set[str]:
    """What is wrong with the sections that may be searched."""
    rest = {name: part for name, part in tree.items() if name != "tune"}
    reader = SpecReader(rest)
    check_rules(reader.read(), rest, reader.findings)
    return {item.text for item in reader.findings if item.key and item.key[0] in ("model", "train", "inputs")}
