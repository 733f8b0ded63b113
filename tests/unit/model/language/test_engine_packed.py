"""Packed weights: the same decoder, laid out as the processor reads it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from lode.model.language import adapters
from lode.model.language.engine import packed as subject
from lode.model.language.engine.contracts import Request
from lode.model.language.engine.engine import Engine
from lode.model.language.engine.packed import PackedLinear, packed
from tests.unit.model.language.engine_samples import GREEDY, Letters, alone, make, prompts, run
from tests.unit.model.language.test_engine_adapters import SMALL, train


@pytest.fixture(autouse=True)
def small_layers_are_packed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_LEAST_NUMBERS", {torch.float32: 1, torch.bfloat16: 1})


@pytest.mark.parametrize("word", ["gpt2", "llama", "mixtral"])
def test_answers_stay_the_decoders_own(word: str) -> None:
    _, decoder = make(word)
    before = {name: weight.clone() for name, weight in decoder.state_dict().items()}
    engine = Engine(decoder, Letters(), **SMALL)
    for number, text in enumerate(prompts(6)):
        engine.submit(Request(id=str(number), tokens=text, sampling=GREEDY))
    answers = run(engine)
    assert any(isinstance(layer, PackedLinear) and layer._is_packed for layer in engine.decoder.modules())
    for number, text in enumerate(prompts(6)):
        assert answers[str(number)].tokens == alone(decoder, text, GREEDY.max_tokens)
    assert not any(isinstance(layer, PackedLinear) for layer in decoder.modules()), "the decoder itself stays as it is"
    assert all(torch.equal(weight, before[name]) for name, weight in decoder.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_packed_is_shared_and_what_is_gives_its_weight_back(dtype: torch.dtype) -> None:
    decoder = make("gpt2")[1].to(dtype)
    made = packed(decoder)
    assert made.embed.weight is decoder.embed.weight and made.norm.weight is decoder.norm.weight
    layer, plain = made.layers[1].mlp.up, decoder.layers[1].mlp.up
    assert layer.weight.data_ptr() == plain.weight.data_ptr(), "nothing is copied before it is needed"
    with torch.inference_mode():
        x = torch.randn(3, 32).to(dtype)
        assert (layer(x) - plain(x)).abs().max() < (1e-5 if dtype == torch.float32 else 0.1)
    assert layer._is_packed and torch.equal(layer.weight, plain.weight)
    assert adapters.fingerprint(made) == adapters.fingerprint(decoder)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_adapters_stand_beside_packed_weights(kind: str, tmp_path: Path) -> None:
    architecture, decoder = make("qwen2")
    expected = train(decoder, architecture, tmp_path / "a", kind, 0, rank=3)
    engine = Engine(decoder, Letters(), architecture=architecture, **SMALL)
    for number, text in enumerate(prompts(4)):
        engine.submit(Request(id=f"base {number}", tokens=text, sampling=dataclasses.replace(GREEDY, max_tokens=3)))
    run(engine)
    engine.attach("a", tmp_path / "a")
    for number, text in enumerate(prompts(4)):
        engine.submit(Request(id=str(number), tokens=text, sampling=dataclasses.replace(GREEDY, max_tokens=12), adapter="a"))
    answers = run(engine)
    assert [answers[str(number)].tokens for number in range(4)] == expected


def test_layers_with_adapters_and_other_types_stay_as_they_are() -> None:
    _, decoder = make("llama")
    assert packed(decoder.double()) is decoder
    decoder.float()
    adapters.attach(decoder, ["q"], lambda layer: adapters.LoraLinear(layer, rank=2, alpha=2.0, dropout=0.0))
    made = packed(decoder)
    assert set(adapters.adapted(made)) == {"layers.0.attention.q", "layers.1.attention.q"}
    assert isinstance(made.layers[0].attention.k, PackedLinear)
