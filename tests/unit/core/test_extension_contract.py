"""The contract suite itself can fail: each rule catches an extension that breaks it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lode.core import registry
from lode.core.errors import SpecError
from lode.core.registry import Registry
from lode.testing.extension import check_extension

Make = Callable[[str], None]

HEADER = """
from __future__ import annotations
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Literal
from lode.core.types import Range

"""
GOOD = '''
class Thing:
    """A thing.

    Args:
        width: how wide.
        price: how dear.
    """

    def __init__(self, specs, *, width: Annotated[int, Range(1)] = 3, price: Decimal = Decimal("0.10")) -> None: ...
'''
GOOD_RECORD = '''
@dataclass(frozen=True, kw_only=True)
class Thing:
    """A thing.

    Args:
        width: how wide.
        names: which.
    """

    width: int
    names: list[str] = field(default_factory=list)
'''


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Runs the suite on a file `thing.py` with this text."""
    folder = tmp_path / "things_to_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(registry.REGISTRIES, "encoder", Registry("encoder", "things_to_test", folder, "lode_test.things"))

    def checked(text: str) -> None:
        (folder / "thing.py").write_text(HEADER + text)
        check_extension("encoder", "thing")

    yield checked
    for name in [name for name in sys.modules if name.startswith("things_to_test")]:
        del sys.modules[name]


BARE = 'class Thing:\n    """A thing without options."""\n'


@pytest.mark.parametrize("text", [GOOD, GOOD_RECORD, GOOD + "\n\nclass _Helper: ...\n", BARE])
def test_good_extensions_pass(check: Make, text: str) -> None:
    check(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (GOOD + "\n\nclass Other: ...\n", "public classes"),
        (GOOD.replace("        price: how dear.\n", ""), "no line under `Args:` for price"),
        (GOOD.replace("] = 3", "] = 0"), "its default 0 is not allowed"),
        (GOOD.replace('"""A thing.', 'unused = """'), "no docstring"),
        (GOOD.replace("class Thing", "class Thong"), "wanted Thing alone"),
        (GOOD + "        \n\nThing.__init__.__kwdefaults__['width'] = 4\n", "width: default read as 3, is 4"),
        (GOOD_RECORD.replace("kw_only=True", "frozen=True").replace("frozen=True, ", "", 1), "options differ"),
    ],
)
def test_broken_extensions_are_caught(check: Make, text: str, wanted: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check(text)
    assert wanted in str(caught.value)


@pytest.mark.parametrize(("before", "after"), [(") -> None", ", **more) -> None"), ("Decimal =", "complex =")])
def test_unreadable_extensions_are_caught(check: Make, before: str, after: str) -> None:
    with pytest.raises(SpecError):
        check(GOOD.replace(before, after))
