"""`lode.yaml` to a Spec. `load` reads the file, checks everything at once, and imports no extension.

Records: `core.spec_records`; words and options from signatures: `core.registry`; sections: `core.spec_reader`; rules between
sections: `core.spec_rules`. Read `pipeline/run.py` next: it turns a Spec into an artifact.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lode.core.check import Finding, dotted
from lode.core.errors import SpecError
from lode.core.registry import REGISTRIES
from lode.core.spec_reader import SpecReader, policy_word
from lode.core.spec_records import (
    DataSpec,
    InputSpec,
    OutputSpec,
    SourceSet,
    Spec,
    ValueSpec,
    is_language,
    is_upstream,
    resolve_model,
)
from lode.core.spec_rules import check_rules
from lode.core.spec_train import check_train
from lode.core.spec_tune import check_search
from lode.core.types import Component
from lode.core.yaml_lines import Document, read_yaml

__all__ = [
    "DataSpec",
    "InputSpec",
    "OutputSpec",
    "SourceSet",
    "Spec",
    "ValueSpec",
    "from_tree",
    "is_language",
    "is_upstream",
    "load",
    "policy_for",
    "resolve_model",
    "tree_of",
]


def load(path: str | Path, data_folder: str | Path | None = None) -> Spec:
    """Read and check a file.

    Errors: one SpecError that holds every problem, a line each, `lode.yaml:inputs.limit.scal (line 12): found ..., allowed: ...`.
    """
    path = Path(path)
    if data_folder is not None and not Path(data_folder).is_dir():
        raise SpecError(
            f"--data: found {data_folder}, which is no folder, allowed: one that is there. Correct it, or leave it out."
        )
    document = read_yaml(_bytes(path))
    problems = list(document.problems)
    if problems and document.tree is None:
        raise SpecError(_report(path, problems))
    if not isinstance(document.tree, dict):
        raise SpecError(_report(path, [((), 1, _not_a_mapping(document))]))
    parts, findings = _read(document.tree)
    problems += [(item.key, document.line(item.key), item.text) for item in findings]
    if problems:
        raise SpecError(_report(path, problems))
    return Spec(path=path, data_folder=None if data_folder is None else Path(data_folder), **parts)


def tree_of(path: str | Path) -> dict[str, Any]:
    """What a file that `load` accepts says, as it says it."""
    found: dict[str, Any] = read_yaml(_bytes(Path(path))).tree
    return found


def from_tree(path: Path, tree: Mapping[str, Any], data_folder: Path | None) -> Spec:
    """The Spec of a changed file. path: of the file that it comes from. Errors: SpecError that holds every problem."""
    parts, findings = _read(tree)
    if findings:
        raise SpecError(_report(path, [(item.key, 1, item.text) for item in findings]))
    return Spec(path=path, data_folder=data_folder, **parts)


def _read(tree: Mapping[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
    """The parts of a Spec, and everything that is wrong with them."""
    reader = SpecReader(tree)
    parts = reader.read()
    check_rules(parts, tree, reader.findings)
    check_train(parts["train"], reader.findings)
    check_search(tree, reader.findings)
    return parts, reader.findings


def policy_for(spec: Spec, task: str) -> Component | None:
    """The policy that values the first output, whose task's word is `task`; None without a `value:` section.

    Errors: SpecError where no policy values such a task.
    """
    if spec.value is None:
        return None
    if spec.value.policy is not None:
        return spec.value.policy
    word = policy_word({}, task)
    if word is None:
        policies = REGISTRIES["policy"]
        tasks = ", ".join(sorted({str(policies.constant(name, "task")) for name in policies.names()}))
        raise SpecError(
            f'{spec.path}:value: found a first output of type "{task}", allowed: {tasks}. Remove `value:` or change it.'
        )
    return Component(word)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise SpecError(
            f"{path}: found no such file, allowed: a lode.yaml. Make one with `lode init DIR`, or name yours."
        ) from None
    except IsADirectoryError:
        raise SpecError(f"{path}: found a folder, allowed: a lode.yaml. Name the file in it.") from None
    except PermissionError:
        raise SpecError(f"{path}: found a file that may not be read, allowed: a readable one. Change its permissions.") from None


def _not_a_mapping(document: Document) -> str:
    if document.tree is None:
        return "found an empty file, allowed: name, data, outputs and more. Start from an example with `lode init DIR`."
    kind = "a list" if isinstance(document.tree, list) else "a single word"
    return f"found {kind}, allowed: a mapping with name, data, outputs and more. Start from an example with `lode init DIR`."


def _report(path: Path, problems: list[tuple[Any, int, str]]) -> str:
    """One line each, in the order of the file; nothing is said twice."""
    lines = []
    for key, line, text in sorted(problems, key=lambda item: (item[1], dotted(item[0]))):
        where = f"{path}:{dotted(key)}" if key else str(path)
        lines.append(f"{where} (line {line}): {text}")
    return "\n".join(dict.fromkeys(lines))
