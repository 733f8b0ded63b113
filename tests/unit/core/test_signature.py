from __future__ import annotations

import importlib
import itertools
import textwrap
from collections.abc import Callable
from dataclasses import fields
from decimal import Decimal
from pathlib import Path

import pytest

from lode.core.errors import SpecError
from lode.core.registry import ROOT, SECTIONS, section
from lode.core.signature import Signature, public_classes, read_signature
from lode.core.types import Range

Read = Callable[[str], Signature]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """The signature of class Thing in a file with this text; a new file each time, as they are read once."""
    counter = itertools.count()

    def reader(body: str) -> Signature:
        path = tmp_path / str(next(counter)) / "thing.py"
        path.parent.mkdir()
        path.write_text(textwrap.dedent(body))
        return read_signature(path, "Thing")

    return reader


def test_keyword_only_parameters_are_options(read: Read) -> None:
    found = read('''
        class Thing:
            """What it is.

            More of it.

            Args:
                width: neurons, of
                    every layer.
                a, b: two at once.
            """
            needs = "flat"
            limit: ClassVar[int] = 3
            computed = len("abc")

            def __init__(self, specs, tasks=None, *, width: Annotated[int, Range(1, 9)] = 3, a: str, b: Decimal = Decimal("0.10")): ...
    ''')
    assert found.positional == ("specs", "tasks")
    assert list(found.options) == ["width", "a", "b"]
    assert found.options["width"].type.range == Range(1, 9)
    assert found.options["width"].doc == "neurons, of every layer."
    assert found.options["a"].required and found.options["a"].doc == "two at once."
    assert str(found.options["b"].default) == "0.10"
    assert found.doc == "What it is."
    assert found.constants == {"needs": "flat", "limit": 3}


def test_options_of_a_base_in_the_same_file_come_first(read: Read) -> None:
    found = read('''
        @dataclass(frozen=True, kw_only=True)
        class Shared:
            """What several take.

            Args:
                host: address.
                port: TCP port.
            """
            host: str = "here"
            port: int = 1

        @dataclass(frozen=True, kw_only=True)
        class Thing(Shared, Elsewhere):
            """One of them.

            Args:
                port: another one.
                rows: of a request.
            """
            port: int = 2
            rows: int = 3
    ''')
    assert [(name, item.default, item.doc) for name, item in found.options.items()] == [
        ("host", "here", "address."), ("port", 2, "another one."), ("rows", 3, "of a request."),
    ]  # fmt: skip
    assert found.doc == "One of them."


@pytest.mark.parametrize("name", ["serve", "serve_language", "serve_upstream"])
def test_a_section_has_the_options_that_its_class_takes(name: str) -> None:
    """Also where they stand in a base: of one in another file the schema would know nothing."""
    file, word = SECTIONS[name]
    made = getattr(importlib.import_module(".".join(("lode", *file.relative_to(ROOT).with_suffix("").parts))), word)
    assert {item.name: item.default for item in fields(made)} == {
        item.name: item.default for item in section(name).options.values()
    }


def test_fields_of_a_dataclass_are_options(read: Read) -> None:
    found = read("""
        @dataclass(frozen=True, kw_only=True)
        class Thing:
            word: ClassVar[str] = "x"
            rate: float | None = None
            names: list[ColumnName] = field(default_factory=list)
            low: int = -1
            by: "Literal['a', 'b'] | None" = None
    """)
    assert list(found.options) == ["rate", "names", "low", "by"]
    assert found.options["names"].default == []
    assert found.options["low"].default == -1
    assert found.options["by"].type.text == "a, b or null"
    assert found.constants == {"word": "x"}


def test_a_class_without_init_has_no_options(read: Read) -> None:
    assert read("class Thing(Base):\n    pass\n").options == {}


@pytest.mark.parametrize(
    ("parameter", "named"),
    [
        ("**options", "kwargs"),
        ("*, a: np.ndarray = None", "np.ndarray"),
        ("*, a=3", "no annotation"),
        ("*, a: int = len('x')", "len('x')"),
        ("*, a: tuple[int, ...] = ()", "tuple[int, ...]"),
        ("*, a: Annotated[int, Width(3)] = 3", "Width(3)"),
    ],
)
def test_a_signature_that_breaks_the_rules_is_named(read: Read, parameter: str, named: str) -> None:
    with pytest.raises(SpecError, match=r"thing\.py:Thing") as caught:
        read(f"class Thing:\n    def __init__(self, {parameter}): ...\n")
    assert named in str(caught.value)


def test_a_missing_class_is_named(read: Read) -> None:
    with pytest.raises(SpecError, match="no class Thing"):
        read("class Other: ...")


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        ("Annotated[float, Range(0, 1)]", "a number, from 0 to 1"),
        ("Annotated[float, Range(0, open_low=True)] | None", "a number, above 0 or null"),
        ("Annotated[Decimal | ColumnName, Range(high=5, open_high=True)]", "an exact amount, below 5 or a column's name"),
        ("Annotated[list[int], Range(1)]", "a list of (a whole number, at least 1)"),
        ("dict[str, float]", "a mapping of (text) to (a number)"),
        ("typing.Literal[1, True, None]", "1, true, null"),
    ],
)
def test_types_have_words(read: Read, annotation: str, text: str) -> None:
    assert read(f"class Thing:\n    def __init__(self, *, a: {annotation} = None): ...\n").options["a"].type.text == text


def test_public_classes_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("class A: ...\nclass _B: ...\nclass C: ...\n")
    assert public_classes(path) == ("A", "C")


def test_options_tell_json(read: Read) -> None:
    found = read("class Thing:\n    def __init__(self, *, a: Decimal = Decimal('0.1')): ...\n").options["a"]
    assert found.default == Decimal("0.1")
    assert found.to_json() == {"name": "a", "type": "an exact amount", "required": False, "default": "0.1", "doc": ""}
