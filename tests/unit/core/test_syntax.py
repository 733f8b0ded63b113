"""`core.syntax`: a tree is read again where CPython's counter was disturbed by another thread."""

import ast
from pathlib import Path
from typing import Any

import pytest

from lode.core.syntax import tree_of


def test_a_false_alarm_of_the_parser_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "word.py"
    path.write_text("class Word:\n    pass\n")
    real, calls = ast.parse, []

    def disturbed(*words: Any, **named: Any) -> ast.AST:
        calls.append(words)
        if len(calls) < 3:
            raise SystemError("AST constructor recursion depth mismatch (before=153, after=173)")
        return real(*words, **named)

    monkeypatch.setattr(ast, "parse", disturbed)
    assert [type(node).__name__ for node in tree_of(path).body] == ["ClassDef"]
    assert len(calls) == 3


def test_a_fault_that_stays_is_let_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "word.py"
    path.write_text("")

    def broken(*_: Any, **__: Any) -> ast.AST:
        raise SystemError("AST constructor recursion depth mismatch (before=1, after=2)")

    monkeypatch.setattr(ast, "parse", broken)
    with pytest.raises(SystemError):
        tree_of(path)
