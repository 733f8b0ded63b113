"""Several adapters on one base in one batch, each as if it were merged; int8 weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lode.core.errors import ArtifactError, LodeError, ModelError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.language import adapter_files, adapters
from lode.model.language.contracts import Adapter, Architecture
from lode.model.language.decoder import Decoder
from lode.model.language.engine.contracts import Request
from lode.model.language.engine.engine import Engine
from lode.model.language.engine.quantize import Int8Linear, quantized
from tests.unit.model.language.engine_samples import GREEDY, Letters, alone, ask, make, prompts, run

SMALL = {"memory_bytes": 1 << 20, "page_tokens": 4, "max_sequences": 6, "chunk_tokens": 20}


def train(decoder: Decoder, architecture: Architecture, folder: Path, word: str, seed: int, **options: object) -> list[list[int]]:
    """Write an adapter with weights of its own; the answers of the base with it merged in."""
    adapter: Adapter = REGISTRIES["adapter"].create(Component(word, options))
    adapter.attach(decoder)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in adapters.adapted(decoder).values():
            layer.up.normal_(0.0, 0.3, generator=draw)
            if layer.magnitude is not None:
                layer.magnitude.mul_(1.0 + 0.3 * torch.rand(layer.magnitude.shape, generator=draw))
    adapter_files.save(decoder, adapter, architecture, folder)
    adapters.merge(decoder)
    answers = [alone(decoder, text, 12) for text in prompts(4)]
    for name, layer in adapters.adapted(decoder).items():
        layer.unmerge()
        adapters.put(decoder, name, layer.base)
    return answers


@pytest.mark.parametrize("word", ["llama", "gpt2", "qwen2"])
def test_requests_with_different_adapters_share_a_batch(word: str, tmp_path: Path) -> None:
    architecture, decoder = make(word)
    expected = {None: [alone(decoder, text, 12) for text in prompts(4)]}
    kinds = {"a": ("lora", {"rank": 3}), "b": ("lora", {"rank": 5, "targets": ["q", "mlp"]}), "c": ("dora", {"rank": 2})}
    for seed, (name, (kind, options)) in enumerate(kinds.items()):
        expected[name] = train(decoder, architecture, tmp_path / name, kind, seed, **options)
    engine = Engine(decoder, Letters(), architecture=architecture, **SMALL)
    for name in kinds:
        engine.attach(name, tmp_path / name)
    sampling = dataclasses.replace(GREEDY, max_tokens=12)
    for number, text in enumerate(prompts(4)):
        for name in expected:
            engine.submit(Request(id=f"{name} {number}", tokens=text, sampling=sampling, adapter=name))
    answers = run(engine)
    found = {name: [answers[f"{name} {number}"].tokens for number in range(4)] for name in expected}
    assert found == expected
    assert len({tuple(map(tuple, each)) for each in found.values()}) == 4, "every adapter says something else"
    assert engine.logprobs(prompts(4))[0].shape, "the base alone is still there"


def test_adapters_never_share_pages(tmp_path: Path) -> None:
    architecture, decoder = make()
    train(decoder, architecture, tmp_path, "lora", 1)
    engine = Engine(decoder, Letters(), architecture=architecture, **SMALL)
    engine.attach("a", tmp_path)
    text = list(range(1, 30))
    ask(engine, [text], GREEDY)
    answer = ask(engine, [text], GREEDY, adapter="a")[0]
    assert answer.last and answer.last.cached_tokens == 0


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    architecture, decoder = make()
    train(decoder, architecture, tmp_path, "lora", 1)
    for other in (make(seed=1), make(width=64), make("qwen2")):
        engine = Engine(other[1], Letters(), architecture=other[0], **SMALL)
        with pytest.raises(ArtifactError):
            engine.attach("a", tmp_path)
        assert engine.facts().adapters == ()
    with pytest.raises(LodeError, match="without an architecture"):
        Engine(decoder, Letters(), **SMALL).attach("a", tmp_path)


def test_an_adapter_of_another_base_is_refused_beside_int8_weights_too(tmp_path: Path) -> None:
    architecture, decoder = make()
    _, other = make(seed=1)
    train(other, architecture, tmp_path, "lora", 1)
    for base, told in ((decoder, True), (other, False)):
        engine = Engine(quantized(base), Letters(), architecture=architecture, base=adapters.fingerprint(base), **SMALL)
        if told:
            with pytest.raises(ArtifactError, match="for base weights"):
                engine.attach("a", tmp_path)
        else:
            engine.attach("a", tmp_path)


def test_an_adapter_leaves_when_nobody_uses_it(tmp_path: Path) -> None:
    architecture, decoder = make()
    train(decoder, architecture, tmp_path, "lora", 1)
    engine = Engine(decoder, Letters(), architecture=architecture, **SMALL)
    engine.attach("a", tmp_path)
    with pytest.raises(ModelError, match="attached already"):
        engine.attach("a", tmp_path)
    engine.submit(Request(id="x", tokens=[1, 2], sampling=GREEDY, adapter="a"))
    with pytest.raises(ModelError, match="in use by x"):
        engine.detach("a")
    run(engine)
    engine.detach("a")
    assert engine.facts().adapters == ()
    assert ask(engine, [[1, 2]], GREEDY)[0].tokens == alone(decoder, [1, 2], 24)


def test_an_adapter_with_nan_is_refused(tmp_path: Path) -> None:
    architecture, decoder = make()
    adapter: Adapter = REGISTRIES["adapter"].create(Component("lora", {}))
    copy = make()[1]
    adapter.attach(copy)
    with torch.no_grad():
        next(iter(adapters.adapted(copy).values())).up[0, 0] = float("nan")
    adapter_files.save(copy, adapter, architecture, tmp_path)
    with pytest.raises(ArtifactError, match="not finite"):
        Engine(decoder, Letters(), architecture=architecture, **SMALL).attach("a", tmp_path)


@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_int8_layer_is_near_the_layer_that_it_replaces(rows: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 96).to(dtype).requires_grad_(False)
    int8 = Int8Linear(layer)
    assert (int8.dequantized() - layer.weight.float()).abs().max() < layer.weight.float().abs().max() / 120
    x = torch.randn(rows, 1, 64, dtype=dtype)
    made, expected = int8(x), layer(x)
    assert made.dtype == dtype and made.shape == expected.shape
    assert (made - expected).float().norm() / expected.float().norm() < 0.02


@pytest.mark.parametrize("word", ["llama", "gpt2", "mixtral"])
def test_an_int8_decoder_answers_and_leaves_the_decoder_as_it_was(word: str) -> None:
    _, decoder = make(word, width=64)
    before = {name: weight.clone() for name, weight in decoder.state_dict().items()}
    int8 = quantized(decoder)
    size = sum(buffer.nbytes for buffer in int8.buffers() if buffer.dtype == torch.int8)
    assert size and not any(isinstance(each, Int8Linear) for each in decoder.modules()), "the decoder itself stays"
    assert all(torch.equal(before[name], weight) for name, weight in decoder.state_dict().items())
    assert int8.embed.weight is decoder.embed.weight, "what stays as it is is not copied"
    answers = ask(Engine(int8, Letters(), **SMALL), prompts(4), GREEDY)
    assert all(len(answer.tokens) == 24 for answer in answers)


def test_an_adapter_stands_beside_int8_weights(tmp_path: Path) -> None:
    architecture, decoder = make()
    train(decoder, architecture, tmp_path, "lora", 1)
    engine = Engine(quantized(decoder), Letters(), architecture=architecture, **SMALL)
    engine.attach("a", tmp_path)
    sampling = dataclasses.replace(GREEDY, max_tokens=1, logprobs=0)
    plain = Engine(decoder, Letters(), architecture=architecture, **SMALL)
    plain.attach("a", tmp_path)
    found, expected = (ask(each, prompts(8), sampling, adapter="a") for each in (engine, plain))
    alone_tokens = [each.tokens for each in ask(engine, prompts(8), sampling)]
    assert [each.tokens for each in found] == [each.tokens for each in expected]
    assert all(one.tokens != other for one, other in zip(found, alone_tokens, strict=True)), (
        "the base says something else each time"
    )
    # Products in bfloat16 keep 8 bits: of scores of about 4 that is a hundredth or two
    np.testing.assert_allclose([each.logprobs[0] for each in found], [each.logprobs[0] for each in expected], atol=0.05)


def test_another_adapter_of_the_same_name_finds_no_pages_of_the_first(tmp_path: Path) -> None:
    architecture, decoder = make("llama")
    expected = [train(decoder, architecture, tmp_path / str(seed), "lora", seed, rank=3) for seed in (0, 1)]
    engine = Engine(decoder, Letters(), architecture=architecture, **SMALL)
    for seed in (0, 1):
        engine.attach("a", tmp_path / str(seed))
        for number, text in enumerate(prompts(4)):
            engine.submit(Request(id=str(number), tokens=text, sampling=dataclasses.replace(GREEDY, max_tokens=12), adapter="a"))
        answers = run(engine)
        assert [answers[str(number)].tokens for number in range(4)] == expected[seed]
        engine.detach("a")


def test_an_adapter_whose_factor_is_not_finite_is_refused(tmp_path: Path) -> None:
    architecture, decoder = make("llama")
    train(decoder, architecture, tmp_path / "a", "lora", 0, rank=3)
    path = tmp_path / "a" / adapter_files.CONFIG
    path.write_text(path.read_text().replace('"lora_alpha": 16.0', '"lora_alpha": 1e999'))
    with pytest.raises(ArtifactError, match="not finite"):
        Engine(decoder, Letters(), architecture=architecture, **SMALL).attach("a", tmp_path / "a")
