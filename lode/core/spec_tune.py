"""The section `tune:` beside the rest of the file: every value that would be tried must be one that the file may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from lode.core import spans
from lode.core.check import Finding, dotted
from lode.core.errors import SpecError
from lode.core.search import Dimension, applied, dimensions
from lode.core.spec_reader import SpecReader
from lode.core.spec_rules import check_rules
from lode.core.spec_train import check_train
from lode.core.types import Key

_MADE_OF_FAMILIES = ("auto", "ensemble")
NOTHING = (
    "found nothing to try, allowed: options of the model, of its encoders or of train. Name some: `search: {model.OPTION: [1, 2]}`."
)
_MONEY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Z]{3})")


def check_search(tree: Mapping[str, Any], findings: list[Finding]) -> None:
    """Append a Finding for every dimension, and every value of one, that the rest of the file does not allow."""
    tune = tree.get("tune")
    if not isinstance(tune, Mapping):
        return
    model = tree.get("model")
    word = model.get("type") if isinstance(model, Mapping) else model
    _check_budget(tune.get("budget"), tree.get("value"), findings)
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
    searched = frozenset(name.removeprefix("train.") for name in search or () if isinstance(name, str))
    known = _texts(tree, searched)
    number = len(findings)
    found = dimensions(tree, search, findings)
    if not found and len(findings) == number:
        findings.append(Finding(("tune", "search"), NOTHING))
    for dimension in found if search is not None else ():
        _check_values(tree, dimension, found, known, findings)


def seconds_bought(budget: str, value: Mapping[str, Any] | None) -> float:
    """Seconds of `30m`, or of `5 EUR` at the price of the value block (currency, compute_hour).

    Errors: SpecError for what is neither time nor money, or for money without its price.
    """
    text = budget.strip()
    span_s, money = spans.seconds(text), _MONEY.fullmatch(text)
    if span_s:
        return span_s
    if money is None:
        raise SpecError(f"tune.budget: found {budget!r}, allowed is a time such as 90s, 30m or 2h, or money such as 5 EUR.")
    hour, currency = (value or {}).get("compute_hour"), (value or {}).get("currency")
    if not hour or currency != money[2]:
        raise SpecError(
            f"tune.budget: found {budget!r} but no price of an hour in {money[2]}, allowed is money beside `value: "
            f"{{currency: {money[2]}, compute_hour: ...}}`. Write the price, or give the budget as a time."
        )
    return float(Decimal(money[1]) / Decimal(str(hour)) * 3600)


def _check_budget(budget: Any, value: Any, findings: list[Finding]) -> None:
    """A budget in the file that buys no time."""
    priced = value if isinstance(value, Mapping) else {}
    if not isinstance(budget, str) or isinstance(priced.get("compute_hour"), str | bool | list | Mapping):
        return  # its type is told already
    try:
        seconds_bought(budget, priced)
    except SpecError as error:
        findings.append(Finding(("tune", "budget"), str(error).removeprefix("tune.budget: ")))


def _check_values(
    tree: Mapping[str, Any], dimension: Dimension, every: Sequence[Dimension], known: Mapping[str, Key], findings: list[Finding]
) -> None:
    """Each value beside what the file holds; what other dimensions change may fit in other trials. every: all dimensions."""
    values = dimension.choices or (dimension.low, dimension.high)
    for index, value in enumerate(values):
        value = round(value) if dimension.whole and not dimension.choices else value
        pairs = [(dimension, value)]
        if dimension.owner_key is not None:
            pairs.insert(0, (Dimension("", dimension.owner_key), dimension.words[0]))
        changed = applied(tree, pairs)
        # An option that is searched beside some words only stays as the file has it beside the others
        varied = [item.key[1] for item in every if item is not dimension and item.key[0] == "train" and item.exists(changed)]
        others = frozenset(item.key for item in every if item is not dimension)
        place = index if dimension.choices else ("low", "high")[index]
        wrong = sorted((text, key) for text, key in _texts(changed, frozenset(varied), others).items() if text not in known)
        findings += [Finding(("tune", "search", dimension.name, place), _named(text, key, dimension)) for text, key in wrong]


def _named(text: str, key: Key, dimension: Dimension) -> str:
    """A problem of another option than the one that is tried says which."""
    return text if key[: len(dimension.key)] == dimension.key or key == dimension.key[:-1] else f"{dotted(key)}: {text}"


def _texts(tree: Mapping[str, Any], searched: frozenset[str], others: frozenset[Key] = frozenset()) -> dict[str, Key]:
    """What is wrong with the sections that may be searched, and where. searched: options of the loop of which nothing is said.

    others: keys that are tried, too; what does not fit beside their values in the file may fit in other trials.
    """
    rest = {name: part for name, part in tree.items() if name != "tune"}
    reader = SpecReader(rest)
    parts = reader.read()
    check_rules(parts, rest, reader.findings)
    check_train({name: value for name, value in parts["train"].items() if name not in searched}, reader.findings, searched)
    told = [item for item in reader.findings if not item.beside or others.isdisjoint((item.key, item.beside))]
    return {item.text: item.key for item in told if item.key and item.key[0] in ("model", "train", "inputs")}
