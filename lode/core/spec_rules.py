"""Rules of a lode.yaml that reach across sections: what one section says must make sense beside another. Nothing is silently ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lode.core.check import Finding, shown
from lode.core.errors import listed
from lode.core.registry import REGISTRIES
from lode.core.spec_candidates import check_candidates
from lode.core.spec_records import DataSpec, InputSpec, OutputSpec, ValueSpec, is_language, is_upstream
from lode.core.spec_upstream import check_upstream
from lode.core.spec_words import check_words, families_of
from lode.core.types import CURRENCY, Component, Key

_EVERYWHERE = ("seed", "budget")
"""Options of `train:` that every family reads."""
_OF_THE_LOOP = ("focal", "label_smoothing")
"""Options of outputs that only networks read."""


def check_rules(parts: Mapping[str, Any], tree: Mapping[str, Any], findings: list[Finding]) -> None:
    """Append a Finding for every rule that the parts break. tree: what the file holds, to name keys as they were written."""
    if is_upstream(parts["model"]):
        check_upstream(parts["model"], tree, findings)
        return
    inputs, outputs = parts["inputs"], parts["outputs"]
    findings += _shared_columns(inputs or (), outputs, tree)
    findings += _unnamed_positive(outputs)
    findings += _split(parts["data"])
    findings += _cut_twice(parts["data"], parts["model"], parts["evaluate"])
    findings += _favoured(parts["evaluate"], outputs)
    findings += _reduced(parts["data"], inputs or ())
    findings += _unused_by_family(parts["model"], inputs or (), outputs, tree)
    check_words(parts, findings)
    findings += _of_tokens(parts["model"], parts["train"])
    check_candidates(parts["model"], [item.task.type for item in outputs if item.task is not None], findings)
    findings += _unvalued(parts["value"], outputs)
    findings += _currency(parts["value"])


def _shared_columns(inputs: tuple[InputSpec, ...], outputs: tuple[OutputSpec, ...], tree: Mapping[str, Any]) -> list[Finding]:
    taken = {item.name for item in outputs}
    found = []
    for index, item in enumerate(inputs):
        if item.name in taken:
            key: Key = ("inputs", index if isinstance(tree["inputs"], list) else item.name)
            found.append(Finding(key, f'found "{item.name}", which is an output too, allowed: an input or an output. Remove one.'))
    return found


def _unnamed_positive(outputs: tuple[OutputSpec, ...]) -> list[Finding]:
    """Which of two values counts as positive is never guessed: everything in money hangs on it."""
    found = []
    for item in outputs:
        if item.task is not None and item.task.type == "binary" and item.task.options.get("positive") is None:
            signature = REGISTRIES["task"].signature("binary")
            if not signature.options["positive"].required:
                found.append(
                    Finding(
                        ("outputs", item.name, "positive"),
                        "found nothing, allowed: the value that counts as positive. "
                        f'Write "{item.name}: {{type: binary, positive: ...}}".',
                    )
                )
    return found


def _split(data: DataSpec) -> list[Finding]:
    """Options of the split that are missing, or that would do nothing."""
    by, given = data.split.get("by", "random"), [part for part in data.sources if part != "all"]
    found = []
    if given:
        text = f"found an option for rows that the sources have split already ({', '.join(given)}), allowed: none here."
        unused = [*given, "column", *(["by"] if data.split.get("by") not in (None, "given") else [])]
    elif by == "random":
        text, unused = "found a column, which a random split does not use, allowed: none here.", ["column"]
    elif by == "order":
        text, unused = "found an option that a split by order does not use, allowed: none here.", ["column", "stratify"]
    else:
        text, unused = (
            f"found an option that a split by {by} does not use, allowed: none here.",
            ["stratify"] * (by in ("time", "group")),
        )
        if data.split.get("column") is None:
            missing = f'found nothing, allowed: a column\'s name. Splitting by {by} needs "column: ...".'
            found.append(Finding(("data", "split", "column"), missing))
    written = [word for word in unused if data.split.get(word) is not None]
    found += _folds(data.split, by)
    return found + [Finding(("data", "split", word), f"{text} Remove it.") for word in written]


def _folds(split: Mapping[str, Any], by: str) -> list[Finding]:
    """Options of folds that contradict one another, or that would do nothing."""
    found = []
    if split.get("folds") is not None and split.get("fold_column") is not None:
        found.append(Finding(("data", "split", "fold_column"), "found beside `folds`, allowed: one of them. Remove one."))
    if by != "time" and split.get("gap") is not None:
        found.append(
            Finding(("data", "split", "gap"), f"found an option that a split by {by} does not use, allowed: none here. Remove it.")
        )
    if split.get("window") is not None and (by != "time" or split.get("folds") is None):
        text = "found an option that only folds by time use, allowed: none here. Remove it, or write `by: time` and `folds`."
        found.append(Finding(("data", "split", "window"), text))
    return found


def _reduced(data: DataSpec, inputs: tuple[InputSpec, ...]) -> list[Finding]:
    """A number that `data.reduce` replaces reaches no encoder of its own."""
    if data.reduce is None:
        return []
    numbers = [item for item in inputs if item.feature is not None and item.feature.type == "number"]
    text = "for a number, but `data.reduce` gives the network directions instead of numbers, allowed: none here. Remove one of the two."
    return [
        Finding(("inputs", item.name, word), f"found {word} options {text}")
        for item in numbers
        for word in ("encoder", "augment")
        if getattr(item, word)
    ]


def _unused_by_family(
    model: Component, inputs: tuple[InputSpec, ...], outputs: tuple[OutputSpec, ...], tree: Mapping[str, Any]
) -> list[Finding]:
    """Options that no family of the file would read. `auto` that lists no candidates trains networks, so there everything is read."""
    families, registry = families_of(model), REGISTRIES["family"]
    if not families or any(not registry.has(word) or registry.constant(word, "loop") is not False for word in families):
        return []
    found, train, named = [], tree.get("train"), listed(families)
    unread = [name for name in train if name not in _EVERYWHERE] if isinstance(train, Mapping) else []
    if unread:
        found.append(
            Finding(
                ("train",),
                f"found {listed(unread)}, options of the training loop, which {named} {'do' if len(families) > 1 else 'does'} not use, "
                f"allowed: {listed(_EVERYWHERE)}. Remove them, or choose model: network or auto.",
            )
        )
    for output in outputs:
        for name in _OF_THE_LOOP if output.task is not None else ():
            if output.task is not None and output.task.options.get(name):
                text = (
                    f"found {output.task.options[name]}, which {named} cannot use, allowed: 0. Remove it, or choose model: network."
                )
                found.append(Finding(("outputs", output.name, name), text))
    if len(families) == 1 and model.type == families[0] and registry.constant(model.type, "needs") == "flat":
        found += _encoders(model.type, inputs)
    return found


def _of_tokens(model: Component, train: Mapping[str, Any]) -> list[Finding]:
    """Options of the loop that only models of tokens read."""
    if not model.type or is_language(model):
        return []
    found = []
    if train.get("batch_tokens") is not None:
        text = "found with a model that reads no tokens, allowed is model: {type: language}. Write train.batch."
        found.append(Finding(("train", "batch_tokens"), text))
    if train.get("strategy") == "tensor":
        text = "found tensor with a model that is no language model, allowed are ddp and fsdp. Write one of them."
        found.append(Finding(("train", "strategy"), text))
    return found


def _encoders(family: str, inputs: tuple[InputSpec, ...]) -> list[Finding]:
    found = []
    for item in inputs:
        written = {"encoder": item.encoder, "augment": item.augment}
        for word in (word for word, value in written.items() if value):
            text = f'found {word} options, which model "{family}" does not use, allowed: only the feature\'s options. '
            found.append(Finding(("inputs", item.name, word), text + f"Remove `{word}:`, or choose model: network or auto."))
    return found


def _unvalued(value: ValueSpec | None, outputs: tuple[OutputSpec, ...]) -> list[Finding]:
    if value is None or not outputs:
        return []
    first, policies = outputs[0], REGISTRIES["policy"]
    tasks = sorted({str(policies.constant(word, "task")) for word in policies.names()})
    if first.task is None:
        text = f"found no type, allowed: {', '.join(tasks)}. A `value:` section needs the first output's type: write it."
        return [Finding(("outputs", first.name), text)]
    if value.policy is None:
        if first.task.type in tasks:
            return []
        text = f"found {shown(first.task.type)}, allowed: {', '.join(tasks)}. The first output is what `value:` values."
        return [Finding(("outputs", first.name), text + " Change it, put another output first, or remove `value:`.")]
    wanted = policies.constant(value.policy.type, "task")
    if wanted != first.task.type:
        text = f"found the policy {shown(value.policy.type)} for outputs of type {wanted}, but the first output is of type"
        return [Finding(("value",), f"{text} {first.task.type}, allowed: a policy that values it. Change one of them.")]
    return []


def _cut_twice(data: DataSpec, model: Component, evaluate: Mapping[str, Any]) -> list[Finding]:
    """Rows are cut into folds once: who asks twice, and otherwise, would get one of the two."""
    split = data.split or {}
    asked = {
        "data.split.folds": split.get("folds"),
        # Of both, `_folds` tells
        "data.split.fold_column": split.get("fold_column") if split.get("folds") is None else None,
        "evaluate.folds": evaluate.get("folds"),
        "model.folds": model.options.get("folds") if model.type == "ensemble" else None,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    if len(set(map(str, given.values()))) < 2:
        return []
    some = " and ".join(f"{name}: {shown(value)}" for name, value in given.items())
    key: Key = ("evaluate", "folds") if "evaluate.folds" in given else ("model", "folds")
    return [Finding(key, f"found {some}, allowed: one of them. Remove the other.")]


def _favoured(evaluate: Mapping[str, Any], outputs: tuple[OutputSpec, ...]) -> list[Finding]:
    """Which answer people wish for is asked of groups of people, and of a yes or no."""
    if evaluate.get("favourable") is None:
        return []
    found = f'found "{evaluate["favourable"]}"'
    if not evaluate.get("protected"):
        return [
            Finding(("evaluate", "favourable"), f"{found} without evaluate.protected, allowed: beside it. Name columns of groups.")
        ]
    if any(item.task is None or item.task.type == "binary" for item in outputs):
        return []
    return [Finding(("evaluate", "favourable"), f"{found} without a binary output, allowed: beside one. Remove it.")]


def _currency(value: ValueSpec | None) -> list[Finding]:
    """Told here, because the money is only counted when everything is trained."""
    word = None if value is None else value.options.get("currency")
    if not isinstance(word, str) or CURRENCY.fullmatch(word):
        return []
    text = f"found {shown(word)}, allowed: three capital letters of ISO 4217. Write EUR, for example."
    return [Finding(("value", "currency"), text)]
