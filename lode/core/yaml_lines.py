"""YAML with line numbers: the closed subset that `lode.yaml` is written in.

YAML 1.2 core words only (`no` and `on` are strings, `1e-3` is a number), duplicate keys are problems, no tags, no code, and a number with
a decimal point remembers its text, so that money stays exact. Read `core.spec` next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from lode.core.types import ExactFloat, Key

_MAX_NODES = 20_000
_MAX_DEPTH = 40
_MAX_DIGITS = 400
_TAG = "tag:yaml.org,2002:"


@dataclass(slots=True)
class Document:
    """What a file holds. lines: key -> line (from 1). problems: (key, line, text) found while reading it."""

    tree: Any = None
    lines: dict[Key, int] = field(default_factory=dict)
    problems: list[tuple[Key, int, str]] = field(default_factory=list)

    def line(self, key: Key) -> int:
        """The line of a key, or of the nearest key above it that is in the file."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's reader with the words of YAML 1.2's core schema instead of those of YAML 1.1."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own attribute)


_WORDS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
)
for _kind, _pattern, _first in _WORDS:
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(rf"^(?:{_pattern})$"), list(_first))


def read_yaml(data: bytes) -> Document:
    """The tree, the lines and the problems of a file's bytes. Never raises for what the bytes hold."""
    document = Document()
    text = _decode(data, document)
    if text is None:
        return document
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is not None:
            document.tree = _Builder(document).build(node, (), 0)
    except yaml.MarkedYAMLError as error:
        _syntax_problem(error, text, document)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        document.problems.append(((), line, f"found the character {error.character!r}, allowed: printable text. Remove it."))
    except RecursionError:
        document.problems.append(((), 1, f"found nesting that is too deep, allowed: {_MAX_DEPTH} levels."))
    finally:
        loader.dispose()
    return document


def _decode(data: bytes, document: Document) -> str | None:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"found the byte 0x{data[error.start]:02x}, allowed: UTF-8 text. Save the file as UTF-8."
        document.problems.append(((), line, found))
        return None


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, document: Document) -> None:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    lines = text.splitlines()
    written = lines[line - 1] if line <= len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        document.problems.append(((), line, "found a tab in the indentation, allowed: spaces. Replace the tab by spaces."))
        return
    context = f" {error.context}" if error.context else ""
    document.problems.append(
        ((), line, f"found text that is not YAML ({error.problem or 'unreadable'}{context}), allowed: YAML. Mend it.")
    )


class _TooBigError(yaml.MarkedYAMLError):
    """Aliases that unfold without end."""


class _Builder:
    """Nodes to plain Python, noting the line of every key."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.num_nodes = 0

    def build(self, node: yaml.Node, key: Key, depth: int) -> Any:
        self.num_nodes += 1
        if depth > _MAX_DEPTH or self.num_nodes > _MAX_NODES:
            raise _TooBigError(problem="it unfolds to more than a file of this kind can hold", problem_mark=node.start_mark)
        self.document.lines.setdefault(key, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, key, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.build(item, (*key, index), depth + 1) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, key)
        return self._problem(key, node, f'found the tag "{node.tag}", allowed: plain YAML. Remove the tag.')

    def _mapping(self, node: yaml.MappingNode, key: Key, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name_node, value_node in node.value:
            if not isinstance(name_node, yaml.ScalarNode):
                self._problem(key, name_node, "found a key that is a list or a mapping, allowed: a word.")
                continue
            name = name_node.value
            inner = (*key, name)
            if name in found:
                first = self.document.lines[inner]
                self._problem(inner, name_node, f'found "{name}" a second time (first in line {first}), allowed: each key once.')
                continue
            self.document.lines[inner] = name_node.start_mark.line + 1
            found[name] = self.build(value_node, inner, depth + 1)
        return found

    def _scalar(self, node: yaml.ScalarNode, key: Key) -> Any:
        kind, text = node.tag.removeprefix(_TAG), node.value
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind in ("int", "float") and len(text) > _MAX_DIGITS:
            return self._problem(key, node, f"found a number of {len(text)} characters, allowed: at most {_MAX_DIGITS}.")
        try:
            if kind == "int":
                return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
            if kind == "float":
                return ExactFloat(text.lower())
        except ValueError:
            return self._problem(key, node, f'found "{text}" marked as a number, allowed: a number.')
        return self._problem(key, node, f'found the tag "{node.tag}", allowed: plain YAML. Remove the tag.')

    def _problem(self, key: Key, node: yaml.Node, text: str) -> None:
        self.document.problems.append((key, node.start_mark.line + 1, text))
