"""The artifact of a language model, asked with the rows of a table, and its weights on their way into an engine."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest
import torch

from lode.app.options import LanguageServeOptions
from lode.app.service import _proof
from lode.core.errors import ModelError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.corpus import tokenizers
from lode.data.place import Place
from lode.model.language.engine.contracts import Request, Sampling
from lode.model.language.engine.quantize import Int8Linear
from lode.pipeline.language.model import LanguageModel, read, shapes_of

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


@pytest.fixture
def packaged(tmp_path: Path) -> LanguageModel:
    """A model of drawn weights as it lies in an artifact, read back."""
    tokenizer = tokenizers.make(Component("bytes"), Place(Path()))
    sizes = {"type": "llama", "layers": 2, "heads": 2, "width": 64, "context": 64}
    component = Component("language", {"architecture": sizes, "tokenizer": "bytes"})
    family: Any = REGISTRIES["family"].create(component, shapes_of(tokenizer.size), {})
    family._pupil._architecture, family._pupil._decoder = family._pupil._begin(seed=0)
    with torch.no_grad():
        for weight in family.decoder.parameters():
            weight.mul_(4.0 if weight.ndim > 1 else 1.0)
    recipe = {"model": component.to_json(), "objective": {"type": "next_token"}, "reads": "text", "columns": ["text"]}
    made = LanguageModel(family, tokenizer, recipe)
    made.save(tmp_path)
    made.keep_parity(np.arange(200) * 7 % 256, tmp_path)
    return read(tmp_path)


@pytest.mark.parametrize("weights", ["bf16", "int8"])
def test_what_narrower_weights_cost_is_measured_on_the_kept_tokens_and_told(
    packaged: LanguageModel, weights: Literal["bf16", "int8"]
) -> None:
    before = float(np.exp(-packaged.logprobs([bytes(np.arange(64, dtype=np.uint8) * 7 % 128).decode()])[0].mean()))
    assert before > 1.0, "the model itself answers as long as no engine has its weights"
    engine = packaged.engine(weights=weights, max_rise=0.5)
    found = packaged.narrowing
    assert found is not None and found.tokens == 63 and 0 < abs(found.rise) < 0.1
    after = -float(np.mean(engine.logprobs([(np.arange(64) * 7 % 256).tolist()])[0]))
    assert found.narrow == pytest.approx(np.exp(after), rel=1e-2)
    options = LanguageServeOptions(weights=weights)
    assert _proof(packaged, options, 63) == f"63 held-out tokens answered as in training; {found}."
    assert f"in {weights} their perplexity is" in str(found)


def test_weights_that_cost_more_than_is_allowed_are_not_served(packaged: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Int8Linear, "forward", lambda self, x: x.new_full((*x.shape[:-1], self.out_features), float("nan")))
    with pytest.raises(ModelError, match=r"serve\.weights: found int8, with which the perplexity of 63 .* allowed is \+1\.00%"):
        packaged.engine(weights="int8", max_rise=0.01)


def test_served_weights_are_in_memory_once(packaged: LanguageModel) -> None:
    packaged.verify()
    held = [weakref.ref(weight) for name, weight in packaged.decoder.named_parameters() if name.endswith("down.weight")]
    engine = packaged.engine(weights="int8", max_rise=0.5)
    gc.collect()
    assert len(held) == 2 and not any(each() is not None for each in held)
    engine.submit(Request(id="a", tokens=[1], sampling=Sampling(max_tokens=3)))
    while engine.has_work:
        engine.step()
    assert engine.facts().output_tokens == 3 and packaged.context == 64
    with pytest.raises(AssertionError, match="fit or load"):
        packaged.generate(["a"])


def test_a_gpu_that_is_not_there_is_told_before_anything_is_given_away(
    packaged: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"serve\.device: found cuda, but torch sees no GPU, allowed here: cpu"):
        packaged.engine(device="cuda")
    assert packaged.engine(device="auto").cache.k_LPGOK.device.type == "cpu", "the weights were still there"


def test_a_model_answers_from_where_it_was_moved_to(packaged: LanguageModel) -> None:
    before = packaged.generate(["a"], Sampling(max_tokens=3, temperature=0.0))
    assert packaged.move("cpu").generate(["a"], Sampling(max_tokens=3, temperature=0.0)) == before
    packaged.move("meta")
    assert packaged._engine.cache.k_LPGOK.device.type == "meta", "no engine of the old place is left"
