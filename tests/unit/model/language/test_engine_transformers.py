"""Greedy answers beside `transformers`' own `generate` in float32, token by token, for every architecture, through its files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lode.model.language import weights
from lode.model.language.engine.engine import Engine
from tests.unit.model.language.engine_samples import ARCHITECTURES, GREEDY, Letters, ask, make, prompts

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("word", ARCHITECTURES)
def test_answers_are_those_of_generate(word: str, tmp_path: Path) -> None:
    architecture, decoder = make(word)
    weights.save(decoder, architecture, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    texts = prompts(4, longest=30)
    engine = Engine(decoder, Letters(), memory_bytes=1 << 20, page_tokens=4, max_sequences=3, chunk_tokens=16)
    for text, answer in zip(texts, ask(engine, texts, GREEDY), strict=True):
        made = theirs.generate(
            torch.tensor([text]), attention_mask=torch.ones(1, len(text), dtype=torch.int64), max_new_tokens=24, min_new_tokens=24,
            do_sample=False, pad_token_id=0,
        )  # fmt: skip
        assert answer.tokens == made[0, len(text) :].tolist()
