"""Calls of tools in what a model writes, and the grammars that force them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from lode.app.language.contracts import Form
from lode.app.language.fields import Fields
from lode.app.language.pieces import Pieces, Ruler
from lode.app.language.tools import CallReader, choice_of
from lode.core.types import Component
from lode.data.corpus import tokenizers
from lode.data.place import Place
from tests.unit.app.language.fakes import FakeModel

CALL = '<tool_call>{"name": "f", "arguments": {"x": "a</tool_call>}"}}</tool_call>'


def read(text: str, size: int) -> list[list[Any]]:
    """[call or None, name, text] of what a reader gives, parts of one thing joined."""
    reader, found = CallReader(), list[list[Any]]()
    said = [part for start in range(0, len(text), size) for part in reader.feed(text[start : start + size])]
    for part in [*said, *reader.end()]:
        if found and found[-1][0] == part.call and not part.name:
            found[-1][2] += part.text
        else:
            found.append([part.call, part.name, part.text])
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain text, a <b> and a <tool", [[None, "", "plain text, a <b> and a <tool"]]),
        (f"hi {CALL}\n", [[None, "", "hi"], [0, "f", '{"x": "a</tool_call>}"}']]),
        (
            f'{CALL}\n<tool_call>\n{{"arguments": {{}}, "name": "g"}}\n</tool_call>',
            [[0, "f", '{"x": "a</tool_call>}"}'], [1, "g", "{}"]],
        ),
        ("x <tool_call>nothing</tool_call> y", [[None, "", "x <tool_call>nothing</tool_call> y"]]),
        ('<tool_call>{"name": "f", "arguments": "{}"}', [[0, "f", "{}"]]),
        ('<tool_call>{"name": "f", "parameters": {"x": [1,', [[0, "f", '{"x": [1,']]),
        ('<tool_call>{"name": "f", "arguments": {"x": </tool_call> so', [[0, "f", '{"x": '], [None, "", " so"]]),
        ('<tool_call>{"name": "f", "arguments": {"q": "\\"}{"}}</tool_call>', [[0, "f", '{"q": "\\"}{"}']]),
        ("  ", [[None, "", "  "]]),
        ("", []),
    ],
)
def test_calls_are_found_however_the_text_is_cut(text: str, wanted: list[list[Any]]) -> None:
    for size in (1, 2, 7, 1000):
        assert read(text, size) == wanted


def test_any_text_comes_out_as_it_went_in_however_it_is_cut() -> None:
    rng = random.Random(0)
    parts = ["<tool_call>", "</tool_call>", "<tool", " ", "\n", '{"name": "f", "arguments": ', "{}", "}", '"', "\\", "x"]
    for _ in range(500):
        text = "".join(rng.choices(parts, k=rng.randrange(1, 12)))
        whole = read(text, 1000)
        assert all(read(text, size) == whole for size in (1, 3))
        if "<tool_call>" not in text:
            assert whole == [[None, "", text]]


def written(form: Form, seed: int, longest: int = 300) -> tuple[str, bool]:
    """What random choices within a grammar give, and whether it came to its end."""
    from lode.app.language.grammar import Grammars

    tokenizer, rng = FakeModel().tokenizer, random.Random(seed)
    (matcher,) = Grammars(tokenizer, Pieces(tokenizer)).of(form, 1)
    said: list[int] = []
    while not matcher.is_over and len(said) < longest:
        mask_W = torch.full(((tokenizer.size + 31) // 32,), -1, dtype=torch.int32)
        matcher.mask(mask_W)
        words = mask_W.tolist()
        allowed = [token for token in range(tokenizer.size) if words[token // 32] >> (token % 32) & 1]
        token = tokenizer.end if tokenizer.end in allowed else rng.choice(allowed)
        if token == tokenizer.end:
            return tokenizer.decode(said), True
        matcher.accept(token)
        said.append(token)
    return tokenizer.decode(said), matcher.is_over


def tools(**function: Any) -> list[dict[str, Any]]:
    parameters = {
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/x"}},
        "required": ["x"],
        "additionalProperties": False,
        "$defs": {"x": {"enum": ["</tool_call>", 'say "a"', 7]}},
    }
    return [{"function": {"name": name, "parameters": parameters, **function}} for name in ("f", "g")]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "g"}}])
def test_forced_calls_can_be_read_again(choice: Any) -> None:
    pytest.importorskip("llguidance")
    found = choice_of(Fields({"tools": tools(), "tool_choice": choice}))
    assert found is not None and found.form is not None
    for seed in range(10):
        text, is_over = written(found.form, seed)
        (call,) = read(text, 5)
        assert is_over and call[0] == 0 and call[1] in (("g",) if isinstance(choice, dict) else ("f", "g"))
        assert json.loads(call[2])["x"] in ("</tool_call>", 'say "a"', 7)


def test_a_strict_tool_holds_also_where_the_model_may_choose() -> None:
    pytest.importorskip("llguidance")
    assert (free := choice_of(Fields({"tools": tools()}))) is not None and free.form is None
    strict = choice_of(Fields({"tools": tools(strict=True)}))
    assert strict is not None and strict.form is not None
    assert written(strict.form, 0) == ("", True)  # saying nothing is allowed
    from lode.app.language.grammar import Grammars

    tokenizer = FakeModel().tokenizer
    for text, is_good in (
        ("Let me see. <tool_call>{", True),
        ("a < b, <tool", True),
        ('<tool_call>{"name": "f", "arguments": {"x":7}}</tool_call> and <b>', True),
        ('<tool_call>{"name": "h"', False),
        ("<tool_call>what", False),
    ):
        (matcher,) = Grammars(tokenizer, Pieces(tokenizer)).of(strict.form, 1)
        for token in tokenizer.encode([text])[0]:
            matcher.accept(int(token))
        assert bool(matcher.problem) is not is_good, text


def test_the_bytes_of_tokens_are_those_of_the_text() -> None:
    tokenizer = FakeModel().tokenizer
    pieces = Pieces(tokenizer)
    tokens = [int(token) for token in tokenizer.encode(["a \u6771\u00e9\n"])[0]]
    assert b"".join(pieces.bytes_of(token) for token in tokens).decode() == "a \u6771\u00e9\n"
    assert pieces.text_of(tokenizer.special["<|im_end|>"]) == "<|im_end|>" and pieces.bytes_of(10**6) == b""


def test_a_token_begins_where_its_character_stands_in_the_text() -> None:
    tokenizer = tokenizers.make(Component("bytes"), Place(Path()))
    tokens = [*tokenizer.encode(["a\u6771b\u00e9c"])[0].tolist(), tokenizer.special["<|im_end|>"], ord("d")]
    ruler = Ruler(Pieces(tokenizer))
    assert [ruler.before(token) for token in tokens] == [0, 1, 1, 1, 2, 3, 3, 4, 5, 5]
