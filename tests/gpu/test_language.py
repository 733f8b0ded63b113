"""Language models on a GPU: the engine says what the decoder says, training goes as on a processor, a run ends in an artifact."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from lode.model.contracts import Context
from lode.model.language import adapters
from lode.model.language.decoder import Decoder
from lode.model.language.engine.contracts import Request, Sampling
from lode.model.language.engine.engine import Engine
from lode.model.language.engine.quantize import quantized
from lode.pipeline import loading
from lode.pipeline.run import run as run_file
from tests.unit.model.language.corpus_samples import documents, language, training
from tests.unit.model.language.engine_samples import ARCHITECTURES, GREEDY, VOCABULARY, Letters, ask, make, prompts, run
from tests.unit.model.language.test_engine_adapters import train
from tests.unit.model.language.test_engine_sampler import Only

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]
SMALL = {"memory_bytes": 1 << 20, "page_tokens": 4, "max_sequences": 5, "chunk_tokens": 16}
LENGTHS = [9, 6, 8, 30, 5, 5, 11, 2] * 12


def _alone(decoder: Decoder, prompt: Sequence[int], count: int) -> list[int]:
    """The greedy answer without a cache."""
    tokens = list(prompt)
    with torch.inference_mode():
        for _ in range(count):
            tokens.append(int(decoder.logits(decoder(torch.tensor([tokens], device=DEVICE))[0, -1]).argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("word", ARCHITECTURES)
def test_logits_are_those_of_the_processor(word: str) -> None:
    _, decoder = make(word)
    tokens = torch.tensor([prompts(1, seed=3, longest=100)[0]])
    with torch.inference_mode():
        expected = decoder.logits(decoder(tokens))
        found = decoder.to(DEVICE).logits(decoder(tokens.to(DEVICE))).cpu()
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max()


@pytest.mark.parametrize("word", ARCHITECTURES)
def test_greedy_answers_are_the_decoders_own(word: str) -> None:
    """In float32, with pieces of prompts, pages that are shared, and sequences that give way."""
    _, decoder = make(word)
    decoder.to(DEVICE)
    start, texts = prompts(1, seed=7, longest=40)[0], prompts(8, longest=30)
    asked = [*texts, *(start + text for text in texts)]
    engine = Engine(decoder, Letters(), **SMALL)
    found = [answer.tokens for answer in ask(engine, asked, GREEDY)]
    assert found == [_alone(decoder, text, 24) for text in asked]
    assert engine.facts().pages_held == 0


def test_settings_of_every_kind_stand_side_by_side_and_a_seed_repeats() -> None:
    _, decoder = make()
    engine = Engine(decoder.to(DEVICE), Letters(), **SMALL)
    kinds = [
        Sampling(max_tokens=12, temperature=0.8, top_k=5, seed=1),
        Sampling(max_tokens=12, top_p=0.9, min_p=0.05, seed=2, logprobs=3),
        Sampling(max_tokens=12, repetition_penalty=1.3, frequency_penalty=0.5, presence_penalty=0.5, seed=3),
        Sampling(max_tokens=12, temperature=0.0, logit_bias={7: 100.0}),
    ]
    seen = []
    for _ in range(2):
        for number, sampling in enumerate(kinds):
            engine.submit(Request(id=str(number), tokens=[1, 2, 3], sampling=sampling))
        engine.submit(Request(id="formed", tokens=[4], sampling=Sampling(max_tokens=4, seed=5), grammar=Only([11])))
        answers = run(engine)
        seen.append({name: answer.tokens for name, answer in answers.items()})
        assert all(value is not None and value <= 0 for value in answers["1"].logprobs)
    assert seen[0] == seen[1]
    assert set(seen[0]["3"]) == {7} and set(seen[0]["formed"]) == {11}


def test_numbers_that_are_not_finite_end_their_own_request() -> None:
    _, decoder = make()
    with torch.no_grad():
        decoder.embed.weight[VOCABULARY - 1] = float("nan")
    engine = Engine(decoder.to(DEVICE), Letters(), **SMALL)
    for name, tokens in (("bad", [1, VOCABULARY - 1]), ("good", [1, 2, 3])):
        engine.submit(Request(id=name, tokens=tokens, sampling=dataclasses.replace(GREEDY, logit_bias={VOCABULARY - 1: -1e6})))
    answers = run(engine)
    assert answers["bad"].last is not None and answers["bad"].last.finish_reason == "error"
    engine.check()
    assert engine.facts().pages_held == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_int8_weights_answer_nearly_alike(dtype: torch.dtype) -> None:
    _, decoder = make(width=64)
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.div_(3.0 if weight.ndim > 1 else 1.0)
    decoder.to(DEVICE, dtype)
    texts = prompts(6)
    plain, narrow = (Engine(each, Letters(), **SMALL).logprobs(texts) for each in (decoder, quantized(decoder)))
    apart = np.concatenate(plain) - np.concatenate(narrow)
    assert np.abs(apart.mean()) < 0.02 and np.abs(apart).max() < 0.5


def test_requests_with_different_adapters_share_a_batch(tmp_path: Path) -> None:
    architecture, decoder = make()
    for seed, (name, word) in enumerate({"a": "lora", "b": "dora"}.items()):
        train(decoder, architecture, tmp_path / name, word, seed, rank=3)
    assert not adapters.adapted(decoder)
    decoder.to(DEVICE)
    engine = Engine(decoder, Letters(), architecture=architecture, **SMALL)
    for name in "ab":
        engine.attach(name, tmp_path / name)
    sampling, texts = dataclasses.replace(GREEDY, max_tokens=8), prompts(3)
    for name in (None, "a", "b"):
        for number, text in enumerate(texts):
            engine.submit(Request(id=f"{name} {number}", tokens=text, sampling=sampling, adapter=name))
    together = {name: answer.tokens for name, answer in run(engine).items()}
    for name in (None, "a", "b"):
        for number, text in enumerate(texts):
            engine.submit(Request(id="alone", tokens=text, sampling=sampling, adapter=name))
            assert run(engine)["alone"].tokens == together[f"{name} {number}"]
    assert together["None 0"] != together["a 0"] != together["b 0"]


@pytest.mark.parametrize("word", ["gpt2", "qwen3", "gemma3", "mixtral"])
def test_a_fit_goes_as_on_a_processor(word: str) -> None:
    sizes = {"layers": 2, "heads": 2, "width": 32, "context": 24}
    options = {"steps": 30, "judge_steps": 10, "clip": 1.0}
    losses = []
    for device in ("cpu", DEVICE):
        family = language({"type": word, **sizes})
        context = Context(seed=1, device=device, training=training(device=device, **options))
        fitted = family.fit(documents(LENGTHS), documents([20] * 5, seed=1), context)
        losses.append([entry["stop_loss"] for entry in fitted.history])
    assert losses[0] == pytest.approx(losses[1], abs=2e-3) and losses[1][-1] < losses[1][0]


@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"optimizer": "muon"}, {"checkpoint_activations": True}], ids=str)
def test_every_way_of_training_learns_and_tells_its_speed(options: dict[str, object]) -> None:
    family = language({"type": "llama", "layers": 2, "heads": 2, "width": 64, "context": 24})
    context = Context(seed=1, device=DEVICE, training=training(device=DEVICE, steps=60, judge_steps=20, **options))
    fitted = family.fit(documents(LENGTHS), documents([20] * 5, seed=1), context)
    assert fitted.history[-1]["stop_loss"] < fitted.history[0]["stop_loss"]
    assert fitted.choices["tokens_per_s"] > 0


SPEC = """
name: sources
data:
  source: {type: python_library, most: 300kB}
  split: {validation: 0.1, test: 0.1}
model:
  type: language
  architecture: {type: llama, layers: 2, heads: 2, width: 64, context: 64}
  tokenizer: {type: bpe, vocabulary: 400}
train: {device: cuda, steps: 60, batch: 8}
evaluate: {samples: 1, sample_tokens: 20}
"""


def test_a_run_on_a_gpu_is_packaged_and_answers_on_the_processor(tmp_path: Path) -> None:
    (tmp_path / "lode.yaml").write_text(SPEC.replace("device: cuda", f"device: {DEVICE}"), encoding="utf-8")
    done = run_file(tmp_path / "lode.yaml")
    model = loading.load("sources", done.runs)
    assert model.verify()["rows"] > 0
    greedy = Sampling(max_tokens=5, temperature=0.0)
    said = model.generate(["import "], greedy)[0]  # type: ignore[union-attr]
    tokens = model.tokenizer.encode(["import "])[0].tolist()  # type: ignore[union-attr]
    engine = model.engine(device=DEVICE, memory_bytes=16 << 20)  # type: ignore[union-attr]
    engine.submit(Request(id="a", tokens=tokens, sampling=greedy))
    assert said and run(engine)["a"].text == said
