"""The artifact of a language model, asked with the rows of a table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from lode.core.types import Component
from lode.data.corpus import tokenizers
from lode.data.place import Place
from lode.pipeline.language.model import LanguageModel

ASK = {"role": "user", "content": "Who?"}
ANSWER = {"role": "assistant", "content": "I."}


def model(columns: list[str], reads: str, **objective: Any) -> LanguageModel:
    """No weights, bytes as tokens, a context of 64."""
    family = SimpleNamespace(architecture=SimpleNamespace(shape=SimpleNamespace(context=64)))
    recipe = {"objective": {"type": "answers", **objective}, "reads": reads, "columns": columns}
    return LanguageModel(family, tokenizers.make(Component("bytes"), Place(Path())), recipe)


def test_conversations_are_asked_up_to_what_was_said_last_and_bad_ones_are_named() -> None:
    asked = model(["messages"], "chat", messages="messages")
    frame = pl.DataFrame({"messages": [[ASK], [ASK, ANSWER], None, [], [{**ASK, "content": "x" * 64}]]})
    found = [(item.row, item.found, item.allowed) for item in asked.problems(frame)]
    assert found == [
        (2, "messages: found nothing", "a conversation"),
        (3, "messages: found list '[]'", "a conversation"),
        (4, "83 tokens", "fewer than 64, the model's context"),
    ]


@pytest.mark.parametrize(("cell", "said"), [(None, "nothing"), (5, "int 5")])
def test_a_prompt_that_is_no_text_is_named(cell: object, said: str) -> None:
    found = model(["text"], "text").problems(pl.DataFrame({"text": [cell]}))
    assert [(item.row, item.found, item.allowed) for item in found] == [(0, said, "a text")]


def test_one_of_several_prompt_columns_may_be_empty() -> None:
    asked = model(["ask", "more"], "chat", prompt=["ask", "more"], answer="say")
    frame = pl.DataFrame({"ask": ["Who?", None, None], "more": ["", "This?", ""]})
    assert [(item.row, item.found) for item in asked.problems(frame)] == [(2, "empty prompt")]
