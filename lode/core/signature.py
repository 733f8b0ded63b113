"""Reads from source, with `ast`, which options a class takes: the signature is the schema. Nothing is imported.

Used by `core.registry` (one class per extension file); read `core.check` next: it holds a user's values against what is read here.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from lode.core.errors import SpecError
from lode.core.syntax import tree_of
from lode.core.types import Component, Range

_PLAIN = (
    *("int", "float", "bool", "str", "Decimal", "ColumnName", "FilePath", "ByteSize", "TimeSpan", "Any", "None"),
    *("SourceSpec", "FormatSpec", "EncoderSpec", "FamilySpec", "PretrainSpec"),
    *("ArchitectureSpec", "TokenizerSpec", "ObjectiveSpec", "AdapterSpec", "BenchmarkSpec", "DamageSpec"),
)
_NUMERIC = ("int", "float", "Decimal")
_PLAIN_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "Decimal": "an exact amount",
    "ColumnName": "a column's name",
    "FilePath": "a file or folder",
    "ByteSize": "a size such as 2GB",
    "TimeSpan": "a span of time such as 90s, 10m or 2h",
    "Any": "anything",
    "None": "null",
    "SourceSpec": "a source",
    "FormatSpec": "a source without its path",
    "EncoderSpec": "an encoder",
    "FamilySpec": "a family",
    "PretrainSpec": "a way to pretrain",
    "ArchitectureSpec": "an architecture",
    "TokenizerSpec": "a tokenizer",
    "ObjectiveSpec": "an objective",
    "AdapterSpec": "an adapter",
    "BenchmarkSpec": "a set of questions",
    "DamageSpec": "a damage",
}

NESTED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "SourceSpec": ("source", ()),
    "FormatSpec": ("source", ("path",)),
    "EncoderSpec": ("encoder", ()),
    "FamilySpec": ("family", ()),
    "PretrainSpec": ("pretrain", ()),
    "ArchitectureSpec": ("architecture", ()),
    "TokenizerSpec": ("tokenizer", ()),
    "ObjectiveSpec": ("objective", ()),
    "AdapterSpec": ("adapter", ()),
    "BenchmarkSpec": ("benchmark", ()),
    "DamageSpec": ("damage", ()),
}
"""Annotations that stand for another extension: its kind, and those of its options that the outer one gives."""


@dataclass(frozen=True, slots=True)
class OptionType:
    """What an option may be.

    name: "int", "float", "bool", "str", "Decimal", "ColumnName", "FilePath", "ByteSize", "TimeSpan", "Any", "None", "SourceSpec",
        "FormatSpec", "Literal", "list", "dict", "union", or a word of NESTED.
    items: the element of a list, the key and the value of a dict, the members of a union.
    words: the values of a Literal.
    range: bounds of a number.
    """

    name: str
    items: tuple[OptionType, ...] = ()
    words: tuple[Any, ...] = ()
    range: Range | None = None

    @property
    def text(self) -> str:
        """The type in the words of an error message: "a whole number, at least 1"."""
        if self.name == "Literal":
            return ", ".join(_yaml_word(word) for word in self.words)
        if self.name == "union":
            return " or ".join(item.text for item in self.items)
        if self.name == "list":
            return f"a list of ({self.items[0].text})"
        if self.name == "dict":
            return f"a mapping of ({self.items[0].text}) to ({self.items[1].text})"
        return _PLAIN_WORDS[self.name] + (f", {range_text(self.range)}" if self.range else "")

    def literals(self) -> tuple[str, ...]:
        """Every word that a Literal in it names; near misses are looked for among them."""
        own = tuple(word for word in self.words if isinstance(word, str))
        nested = self.items if self.name == "union" else ()
        return own + tuple(word for item in nested for word in item.literals())

    def nested(self) -> str | None:
        """The word of NESTED that stands in it ("SourceSpec" in `list[SourceSpec] | None`), or None."""
        if self.name in NESTED:
            return self.name
        return next((name for item in self.items if (name := item.nested())), None)


@dataclass(frozen=True, slots=True)
class Option:
    """One keyword-only parameter: what the user may write. `default` has no meaning where `required`."""

    name: str
    type: OptionType
    required: bool
    default: Any
    doc: str

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type.text,
            "required": self.required,
            "default": jsonable(self.default),
            "doc": self.doc,
        }


@dataclass(frozen=True, slots=True)
class Signature:
    """The options of one class, its summary, its positional parameters and its literal class attributes."""

    class_name: str
    doc: str
    options: Mapping[str, Option]
    positional: tuple[str, ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict)


def range_text(bounds: Range) -> str:
    """Bounds in words: "from 0 to 1", "at least 1", "above 0"."""
    low, high = bounds.low, bounds.high
    if low is not None and high is not None and not bounds.open_low and not bounds.open_high:
        return f"from {_number(low)} to {_number(high)}"
    parts = []
    if low is not None:
        parts.append(f"{'above' if bounds.open_low else 'at least'} {_number(low)}")
    if high is not None:
        parts.append(f"{'below' if bounds.open_high else 'at most'} {_number(high)}")
    return " and ".join(parts)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def jsonable(value: Any) -> Any:
    """The value as JSON knows it: Decimals become strings, tuples lists, components mappings."""
    if isinstance(value, Component):
        return jsonable(value.to_json())
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value


@functools.cache
def read_signature(path: Path, class_name: str) -> Signature:
    """The signature of a class in a Python file, read once per process.

    Errors: SpecError where the file has no such class, or an option that breaks the rules of signatures (an annotation that is not
    allowed, a default that is no literal, `**kwargs`); the message names file, class and option.
    """
    node = _class(path, class_name)
    where = f"{path.parent.name}/{path.name}:{class_name}"
    doc = ast.get_docstring(node) or ""
    told = _documented(doc)
    if _is_dataclass(node):
        positional: tuple[str, ...] = ()
        fields = _dataclass_fields(node)
    else:
        positional, fields = _init_fields(node, where)
    options = _inherited(path, node) | {name: _option(name, note, default, told, where) for name, note, default in fields}
    summary = " ".join(doc.split("\n\n")[0].split())
    return Signature(class_name, summary, options, positional, _constants(node))


def public_classes(path: Path) -> tuple[str, ...]:
    """Names of the classes that a file defines at top level without a leading underscore."""
    return tuple(n.name for n in tree_of(path).body if isinstance(n, ast.ClassDef) and not n.name.startswith("_"))


def _class(path: Path, class_name: str) -> ast.ClassDef:
    for node in tree_of(path).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            return node
    raise SpecError(
        f"{path}: found no class {class_name}, allowed: one public class named like the file. Add `class {class_name}`."
    )


def _inherited(path: Path, node: ast.ClassDef) -> dict[str, Option]:
    """The options of a record's bases that stand in the same file: what several sections take is written once."""
    known = {item.name for item in tree_of(path).body if isinstance(item, ast.ClassDef)} if _is_dataclass(node) else set()
    return {
        name: option
        for base in map(_name, node.bases)
        if base in known
        for name, option in read_signature(path, base).options.items()
    }


def _is_dataclass(node: ast.ClassDef) -> bool:
    calls = [item.func if isinstance(item, ast.Call) else item for item in node.decorator_list]
    return any(_name(call) == "dataclass" for call in calls)


_Field = tuple[str, "ast.expr | None", "ast.expr | None"]


def _dataclass_fields(node: ast.ClassDef) -> list[_Field]:
    notes = [item for item in node.body if isinstance(item, ast.AnnAssign) and not _is_class_var(item.annotation)]
    return [(item.target.id, item.annotation, item.value) for item in notes if isinstance(item.target, ast.Name)]


def _init_fields(node: ast.ClassDef, where: str) -> tuple[tuple[str, ...], list[_Field]]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            parameters = item.args
            if parameters.kwarg is not None or parameters.vararg is not None:
                raise SpecError(
                    f"{where}: found *args or **kwargs, allowed: named options. Write each option as a keyword-only parameter."
                )
            positional = tuple(a.arg for a in (*parameters.posonlyargs, *parameters.args))[1:]
            pairs = zip(parameters.kwonlyargs, parameters.kw_defaults, strict=True)
            return positional, [(a.arg, a.annotation, default) for a, default in pairs]
    return (), []


def _option(name: str, note: ast.expr | None, default: ast.expr | None, told: Mapping[str, str], where: str) -> Option:
    if note is None:
        raise SpecError(f"{where}.{name}: found no annotation, allowed: a type such as int. Annotate the option.")
    try:
        kind = _option_type(note)
        value = None if default is None else _default(default)
    except ValueError as error:
        raise SpecError(f"{where}.{name}: {error}") from None
    return Option(name, kind, default is None, value, told.get(name, ""))


def _option_type(node: ast.expr) -> OptionType:
    if isinstance(node, ast.Constant):
        return _constant_type(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        members = [_option_type(side) for side in (node.left, node.right)]
        flat = [inner for item in members for inner in (item.items if item.name == "union" else (item,))]
        return OptionType("union", tuple(flat))
    if isinstance(node, ast.Subscript):
        return _subscript_type(node)
    name = _name(node)
    if name in _PLAIN:
        return OptionType(name)
    raise ValueError(f"found the annotation {ast.unparse(node)}, allowed: {', '.join(_PLAIN)}, Literal, list, dict, Annotated.")


def _constant_type(node: ast.Constant) -> OptionType:
    if node.value is None:
        return OptionType("None")
    if isinstance(node.value, str):
        return _option_type(ast.parse(node.value, mode="eval").body)
    raise ValueError(f"found the annotation {ast.unparse(node)}, allowed: a type.")


def _subscript_type(node: ast.Subscript) -> OptionType:
    name = _name(node.value)
    arguments = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        return OptionType("Literal", words=tuple(ast.literal_eval(item) for item in arguments))
    if name == "list" and len(arguments) == 1:
        return OptionType("list", (_option_type(arguments[0]),))
    if name == "dict" and len(arguments) == 2:
        return OptionType("dict", (_option_type(arguments[0]), _option_type(arguments[1])))
    if name == "Annotated" and len(arguments) == 2:
        return _bounded(_option_type(arguments[0]), _range(arguments[1]))
    raise ValueError(
        f"found the annotation {ast.unparse(node)}, allowed: Literal[...], list[X], dict[str, X], Annotated[X, Range(...)]."
    )


def _bounded(kind: OptionType, bounds: Range) -> OptionType:
    """The type with the bounds on every number in it."""
    if kind.name in _NUMERIC:
        return replace(kind, range=bounds)
    return replace(kind, items=tuple(_bounded(item, bounds) for item in kind.items))


def _range(node: ast.expr) -> Range:
    if not (isinstance(node, ast.Call) and _name(node.func) == "Range"):
        raise ValueError(f"found {ast.unparse(node)} in Annotated, allowed: Range(low, high).")
    named = {item.arg: ast.literal_eval(item.value) for item in node.keywords if item.arg}
    return Range(*(ast.literal_eval(item) for item in node.args), **named)


def _default(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        name = _name(node.func)
        if name == "Decimal" and len(node.args) == 1:
            return Decimal(ast.literal_eval(node.args[0]))
        if name in ("ByteSize", "ColumnName", "FilePath") and len(node.args) == 1:
            return ast.literal_eval(node.args[0])
        if name == "field":
            return _field_default(node)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"found the default {ast.unparse(node)}, allowed: a literal. Write the value itself.") from None


def _field_default(node: ast.Call) -> Any:
    empty: dict[str, Any] = {"list": [], "dict": {}, "tuple": ()}
    for item in node.keywords:
        if item.arg == "default":
            return _default(item.value)
        if item.arg == "default_factory" and _name(item.value) in empty:
            return empty[_name(item.value)]
    raise ValueError(f"found {ast.unparse(node)}, allowed: a literal default, or default_factory=list, dict or tuple.")


def _constants(node: ast.ClassDef) -> dict[str, Any]:
    """Class attributes with a literal value; others are left out."""
    is_record = _is_dataclass(node)
    found: dict[str, Any] = {}
    for item in node.body:
        if isinstance(item, ast.Assign):
            names = [target.id for target in item.targets if isinstance(target, ast.Name)]
            value: ast.expr | None = item.value
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            names = [] if is_record and not _is_class_var(item.annotation) else [item.target.id]
            value = item.value
        else:
            continue
        found.update(_literal(names, value))
    return found


def _literal(names: list[str], value: ast.expr | None) -> dict[str, Any]:
    if value is None:
        return {}
    try:
        return dict.fromkeys(names, ast.literal_eval(value))
    except ValueError:
        return {}


def _is_class_var(node: ast.expr) -> bool:
    return _name(node.value if isinstance(node, ast.Subscript) else node) == "ClassVar"


def _name(node: ast.expr) -> str:
    """The last part of a dotted name, or an empty string."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


_ENTRY = re.compile(r"^(?P<indent> +)(?P<names>\w+(?:, \w+)*)(?: \(.*?\))?: *(?P<text>.*)$")


def _documented(doc: str) -> dict[str, str]:
    """Option -> text, from the `Args:` section of a Google docstring; `a, b: text` documents both."""
    lines = doc.splitlines()
    starts = [index for index, line in enumerate(lines) if line.strip() == "Args:"]
    if not starts:
        return {}
    base = len(lines[starts[0]]) - len(lines[starts[0]].lstrip())
    texts: dict[str, str] = {}
    names: list[str] = []
    indent = None
    for line in lines[starts[0] + 1 :]:
        if line.strip() and len(line) - len(line.lstrip()) <= base:
            break
        match = _ENTRY.match(line)
        if match and indent in (None, len(match["indent"])):
            indent = len(match["indent"])
            names = match["names"].split(", ")
            texts.update(dict.fromkeys(names, match["text"].strip()))
        elif line.strip():
            texts.update({name: f"{texts[name]} {line.strip()}".strip() for name in names})
    return texts


def _yaml_word(word: Any) -> str:
    if word is None or isinstance(word, bool):
        return {None: "null", True: "true", False: "false"}[word]
    return str(word)
