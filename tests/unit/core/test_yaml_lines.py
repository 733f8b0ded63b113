from __future__ import annotations

import pytest

from lode.core.types import ExactFloat
from lode.core.yaml_lines import read_yaml


def tree(text: str) -> object:
    document = read_yaml(text.encode())
    assert document.problems == []
    return document.tree


@pytest.mark.parametrize("word", ["no", "yes", "on", "off", "y", "2020-01-01", "12:30", "1_000", "0b1", "<<"])
def test_words_of_yaml_1_1_stay_strings(word: str) -> None:
    assert tree(f"a: {word}") == {"a": word}


@pytest.mark.parametrize(
    ("word", "value"), [("true", True), ("False", False), ("~", None), ("", None), ("0x1f", 31), ("0o17", 15), ("-3", -3)]
)
def test_words_of_yaml_1_2_are_read(word: str, value: object) -> None:
    found = tree(f"a: {word}")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)  # type: ignore[index]


@pytest.mark.parametrize("text", ["0.1", "1e-3", "1.", ".5", "-2.50"])
def test_numbers_remember_how_they_were_written(text: str) -> None:
    found = tree(f"a: {text}")["a"]  # type: ignore[index]
    assert isinstance(found, ExactFloat)
    assert (found.text, float(found)) == (text, float(text))


def test_quoted_numbers_stay_strings() -> None:
    assert tree("a: '0.1'\nb: \"true\"\n") == {"a": "0.1", "b": "true"}


def test_keys_are_their_text() -> None:
    assert tree("2020: a\ntrue: b\n") == {"2020": "a", "true": "b"}


def test_lines_of_nested_keys_are_known() -> None:
    document = read_yaml(b"a:\n  b: 1\n  c:\n    - x\n    - d: 2\n")
    assert document.line(("a", "c", 1, "d")) == 5
    assert document.line(("a", "b")) == 2
    assert document.line(("a", "missing", "deep")) == 1
    assert document.line(("a", "c", 0)) == 4


def problem(data: bytes) -> tuple[int, str]:
    found = read_yaml(data).problems
    assert len(found) == 1, found
    return found[0][1:]


def test_duplicate_keys_are_problems_with_both_lines() -> None:
    line, text = problem(b"a: 1\nb:\n  c: 1\n  c: 2\n")
    assert line == 4
    assert 'found "c" a second time (first in line 3)' in text


def test_a_tab_in_the_indentation_is_named() -> None:
    line, text = problem(b"a:\n\tb: 1\n")
    assert line == 2
    assert "a tab" in text


def test_broken_yaml_has_its_line() -> None:
    line, text = problem(b"a: 1\nb: [1, 2\nc: 3\n")
    assert line in (2, 3)
    assert "not YAML" in text


def test_bytes_that_are_not_utf8_have_their_line() -> None:
    line, text = problem(b"a: 1\nb: caf\xe9\n")
    assert line == 2
    assert "0xe9" in text


def test_control_characters_are_problems() -> None:
    _, text = problem(b"a: 1\nb: \x07\n")
    assert "allowed" in text


def test_a_byte_order_mark_is_skipped() -> None:
    assert tree("\ufeffa: 1") == {"a": 1}


@pytest.mark.parametrize("text", ["a: !!python/object/apply:os.system ['true']", "a: !mine x", "a: !!set {x}"])
def test_tags_are_problems(text: str) -> None:
    assert "tag" in problem(text.encode())[1]


def test_aliases_are_unfolded() -> None:
    assert tree("a: &x {b: 1}\nc: *x\n") == {"a": {"b": 1}, "c": {"b": 1}}


def test_aliases_that_unfold_without_end_are_problems() -> None:
    assert "unfolds" in problem(b"a: &x [*x]\n")[1]
    lines = ["a0: &a0 [1,1,1,1,1,1,1,1,1,1]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "unfolds" in problem("\n".join(lines).encode())[1]


def test_deep_nesting_is_a_problem() -> None:
    assert problem(b"[" * 5000)[1].startswith("found")


def test_endless_numbers_are_problems() -> None:
    assert "a number of" in problem(b"a: " + b"9" * 5000)[1]


def test_several_documents_are_a_problem() -> None:
    assert problem(b"a: 1\n---\nb: 2\n")[0] == 2
