"""Writes the pages of this folder from signatures, help texts and error classes. Run by `make docs`; nothing here is written by hand.

python docs/reference/generate.py            write
python docs/reference/generate.py --check    exit 1 where a page is out of date
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lode.core import errors
from lode.core.registry import REGISTRIES, SECTIONS, section
from lode.core.signature import Signature

HERE = Path(__file__).resolve().parent
NOTE = "<!-- Written by docs/reference/generate.py (`make docs`). Do not edit. -->\n"

KINDS: Mapping[str, tuple[str, str, str]] = {
    "source": ("sources", "Sources", "Where rows come from: `data: {source: ...}`, and `--source` of `lode predict`."),
    "cleaner": ("cleaners", "Cleaners", "What is mended before learning: the list `data: {clean: [...]}`."),
    "feature": ("features", "Features", "What an input is: `inputs: {NAME: ...}`. Left out, it is inferred and said."),
    "finding": (
        "findings",
        "Findings",
        "What `lode data` looks for in the data; `data: {require: [...]}` stops the run where one of these finds something.",
    ),
    "encoder": ("encoders", "Encoders", "How a network reads an input: `inputs: {NAME: {type: ..., encoder: ...}}`."),
    "augment": (
        "augment",
        "Augmentation",
        "Random change of training batches (pictures, texts, recordings, series, numbers): `inputs: {NAME: {..., augment: [...]}}`.",
    ),
    "pretrain": ("pretrain", "Pretraining", "Learning from rows before their labels: `train: {pretrain: ...}`."),
    "family": ("families", "Models", "What is fitted: `model: ...`, a word of this page or `auto`."),
    "architecture": (
        "architectures",
        "Architectures",
        "What a language model is made of: `model: {type: language, architecture: ...}`.",
    ),
    "tokenizer": ("tokenizers", "Tokenizers", "How text becomes tokens: `model: {type: language, tokenizer: ...}`."),
    "objective": ("objectives", "Objectives", "What a language model is taught: `model: {type: language, objective: ...}`."),
    "adapter": ("adapters", "Adapters", "A few trained weights beside frozen ones: `model: {type: language, adapter: ...}`."),
    "benchmark": (
        "benchmarks",
        "Benchmarks",
        "Questions with known answers for language models: the list `evaluate: {tasks: [...]}`.",
    ),
    "damage": (
        "damages",
        "Damages",
        "What goes wrong with cells in production: the list `evaluate: {robustness: [...]}`, or all of them with `robustness: true`.",
    ),
    "task": ("tasks", "Tasks", "What an output is: `outputs: {NAME: ...}`."),
    "metric": ("metrics", "Metrics", "Figures of merit. Each task names its own; the first of them selects models."),
    "policy": ("policies", "Policies", "How predictions become money: the section `value`."),
    "protocol": ("protocols", "Protocols", "How a served model is called."),
    "charge": ("charges", "Charges", "How usage is priced: `type` of each `[[charges]]` of a plan's file."),
}
"""Kind -> page, title, where it stands in the file. Every kind of the registry has a page."""

SECTION_NOTES: Mapping[str, str] = {
    "split": "`data: {split: ...}`: which rows train, decide and judge.",
    "bounds": "`data: {memory: ...}`.",
    "select": "`data: {select: ...}`: which columns of the inputs a model sees.",
    "reduce": "`data: {reduce: ...}`: many numbers to few.",
    "store": "`data: {store: ...}`: how snapshots are kept.",
    "auto": "`model: auto`, or `model: {type: auto, ...}`: candidates compared on rows that none of them saw.",
    "train": "`train: ...`: the training loop of networks.",
    "evaluate": "`evaluate: ...`: the report.",
    "evaluate_language": "`evaluate: ...` of a language model: the report.",
    "value": "`value: ...`: beside these, the options of a [policy](policies.md).",
    "ensemble": "`model: {type: ensemble, members: [...]}`: several models that answer together, as one artifact.",
    "tune": "`tune: ...`: what `lode tune` searches, and how; `lode run` does not read it.",
    "serve": "`serve: ...`: the server.",
    "serve_language": "`serve: ...` of a language model: the server.",
    "serve_upstream": "`serve: ...` of somebody else's model (`model: upstream`): the server.",
}


def cell(text: str) -> str:
    """Text that may stand in a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def options_table(signature: Signature) -> str:
    """What the user may write, one row an option."""
    if not signature.options:
        return "No options.\n"
    rows = ["| option | what it may be | default | |", "|---|---|---|---|"]
    for option in signature.options.values():
        record = option.to_json()
        default = "required" if option.required else f"`{json.dumps(record['default'])}`"
        rows.append(f"| `{option.name}` | {cell(record['type'])} | {default} | {cell(option.doc)} |")
    return "\n".join(rows) + "\n"


def kind_page(kind: str) -> str:
    """Every word of one folder of extensions."""
    registry = REGISTRIES[kind]
    _, title, note = KINDS[kind]
    parts = [
        NOTE,
        f"# {title}\n",
        f"{note} The word is the name of a file in `{registry.package.replace('.', '/')}/`.\n",
    ]
    for word in registry.names():
        signature = registry.signature(word)
        parts += [f"## {word}\n", f"{signature.doc}\n", options_table(signature)]
    return "\n".join(parts)


def file_page() -> str:
    """The sections of lode.yaml that are one class each."""
    parts = [
        NOTE,
        "# lode.yaml\n",
        "One closed file: a key that is not listed here is an error. A *component* is a word, or a mapping with "
        "`type: WORD` and its options.\n",
        "| key | what stands there |\n|---|---|",
        "| `name` | the model's name in the catalogue |",
        "| `data.source` | a [source](sources.md), a list of them, or `train:`, `validation:`, `test:` with one each |",
        "| `data.clean` | a list of [cleaners](cleaners.md) |",
        "| `data.split` | options of [split](#split) |",
        "| `data.require` | a list of [findings](findings.md) that stop the run where they find anything |",
        "| `data.memory`, `data.select`, `data.reduce`, `data.store` | options, below |",
        "| `inputs` | name -> [feature](features.md), with `encoder` ([encoders](encoders.md)) and `augment` ([augmentation](augment.md)); "
        "or a list of names; left out: every column that is no output |",
        "| `outputs` | name -> [task](tasks.md) |",
        "| `model` | a [model](families.md) or `auto` |",
        "| `train`, `evaluate`, `value`, `serve` | options, below |\n",
    ]
    for name in SECTIONS:
        signature = section(name)
        parts += [f"## {name}\n", f"{SECTION_NOTES[name]} {signature.doc}\n", options_table(signature)]
    return "\n".join(parts)


def verbs() -> dict[str, Any]:
    """Verb -> module of every command."""
    folder = Path(importlib.import_module("lode.cli").__path__[0])
    modules = {
        path.stem: importlib.import_module(f"lode.cli.{path.stem}") for path in sorted(folder.glob("*.py")) if path.stem[0] != "_"
    }
    return {word: module for word, module in modules.items() if hasattr(module, "add") and hasattr(module, "run")}


def commands_page() -> str:
    """Every command, from the parsers that `lode VERB --help` uses."""
    parts = [
        NOTE,
        "# Commands\n",
        "Every command takes `--json` (one JSON object on standard output, nothing else there) and `--help`. "
        "Exit codes: 0 done, 2 your mistake (said in one message), 1 ours.\n",
    ]
    for verb, module in verbs().items():
        parser = argparse.ArgumentParser(prog=f"lode {verb}", add_help=False)
        module.add(parser)
        inside = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        own = [action for action in parser._actions if action not in inside]
        parts += [f"## lode {verb}\n", f"{inspect.getdoc(module)}\n", arguments_table(own) if own or not inside else ""]
        for word, part in ((word, part) for action in inside for word, part in action.choices.items()):
            shown = [action for action in part._actions if not {"--help", "--json"} & set(action.option_strings)]
            parts += [f"### lode {verb} {word}\n", f"{part.description or ''}\n", arguments_table(shown)]
    return "\n".join(parts)


def arguments_table(actions: Iterable[argparse.Action]) -> str:
    """Arguments and options of one command."""
    rows = []
    for action in actions:
        name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        takes_value = bool(action.option_strings) and action.nargs != 0
        shown = f"{name} {action.metavar or action.dest.upper()}" if takes_value else name
        optional = "" if action.option_strings or action.nargs not in ("?", "*") else " (optional)"
        rows.append(f"| `{shown}`{optional} | {cell((action.help or '').replace('%%', '%'))} |")
    return "\n".join(["| argument | |", "|---|---|", *rows]) + "\n" if rows else "No arguments.\n"


def errors_page() -> str:
    """The tree of errors."""
    classes = [item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, errors.LodeError)]
    parts = [NOTE, "# Errors\n", "Each message says where, what was found, what is allowed, and what to do next.\n"]
    parts += ["| class | is a | means |", "|---|---|---|"]
    parts += [
        f"| `{item.__name__}` | `{item.__bases__[0].__name__}` | {cell(' '.join((item.__doc__ or '').split()))} |"
        for item in classes
    ]
    return "\n".join(parts) + "\n"


def index_page() -> str:
    """The list of pages."""
    lines = [
        NOTE,
        "# Reference\n",
        "- [lode.yaml](file.md): the sections of the file",
        "- [Commands](commands.md)",
        "- [Errors](errors.md)",
    ]
    lines += [f"- [{title}]({page}.md): {note}" for page, title, note in KINDS.values()]
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """File name -> text of every page."""
    found = {KINDS[kind][0]: kind_page(kind) for kind in REGISTRIES}
    found |= {"file": file_page(), "commands": commands_page(), "errors": errors_page(), "README": index_page()}
    return {f"{name}.md": text for name, text in found.items()}


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check say which are out of date."""
    made = pages()
    kept = {path.name: path.read_text(encoding="utf-8") for path in HERE.glob("*.md")}
    stale = sorted(name for name in {*made, *kept} if made.get(name) != kept.get(name))
    if "--check" in arguments:
        print("\n".join(f"docs/reference/{name} is out of date: make docs" for name in stale) or "docs/reference is up to date")
        return 1 if stale else 0
    for name in stale:
        if name in made:
            (HERE / name).write_text(made[name], encoding="utf-8")
        else:
            (HERE / name).unlink()
    print(f"{len(made)} pages, {len(stale)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
