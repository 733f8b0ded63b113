"""Hundreds of requests of every kind at once, with cancellations at random: nothing leaks, nothing is mixed up. `prove` has 10,000."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest

from lode.model.language.engine.contracts import Delta, Request, Sampling
from lode.model.language.engine.engine import Engine
from lode.model.language.engine.errors import QueueFullError
from tests.unit.model.language.engine_samples import VOCABULARY, Letters, make, run
from tests.unit.model.language.test_engine_adapters import train
from tests.unit.model.language.test_engine_sampler import Only


def random_request(draw: random.Random, number: int, starts: list[list[int]]) -> Request:
    tokens = (draw.choice(starts) if draw.random() < 0.5 else []) + [
        draw.randrange(1, VOCABULARY) for _ in range(draw.randrange(1, 30))
    ]
    sampling = Sampling(
        max_tokens=draw.randrange(1, 25),
        temperature=draw.choice([0.0, 0.7, 1.0]),
        top_k=draw.choice([0, 5]),
        top_p=draw.choice([1.0, 0.9]),
        min_p=draw.choice([0.0, 0.05]),
        repetition_penalty=draw.choice([1.0, 1.2]),
        frequency_penalty=draw.choice([0.0, 0.5]),
        logit_bias={draw.randrange(VOCABULARY): 2.0} if draw.random() < 0.2 else {},
        seed=draw.randrange(1000),
        logprobs=draw.choice([None, None, 0, 3]),
        stop=(chr(0x4E00 + draw.randrange(VOCABULARY)),) if draw.random() < 0.3 else (),
        stop_tokens=(draw.randrange(VOCABULARY),) if draw.random() < 0.2 else (),
        ignore_end=draw.random() < 0.5,
    )
    grammar = Only([draw.randrange(VOCABULARY), 7]) if draw.random() < 0.05 else None
    adapter = draw.choice([None, None, None, "a", "b"])
    return Request(id=str(number), tokens=tokens, sampling=sampling, adapter=adapter, grammar=grammar, salt=draw.choice(["", "x"]))


def mixed(count: int, folder: Path, seed: int) -> None:
    architecture, decoder = make()
    for name in "ab":
        train(decoder, architecture, folder / name, "lora", ord(name))
    engine = Engine(
        decoder, Letters(end=3), architecture=architecture, memory_bytes=50 << 10, page_tokens=4, max_sequences=10,
        chunk_tokens=24, max_waiting=20,
    )  # fmt: skip
    for name in "ab":
        engine.attach(name, folder / name)
    draw = random.Random(seed)
    starts = [[draw.randrange(1, VOCABULARY) for _ in range(17)] for _ in range(4)]
    asked: dict[str, Request] = {}
    lasts: dict[str, Delta] = {}
    tokens: dict[str, list[int]] = {}
    number = step = 0
    while number < count or engine.has_work:
        while number < count and draw.random() < 0.6:
            request = random_request(draw, number, starts)
            try:
                engine.submit(request)
            except QueueFullError:
                break
            asked[request.id] = request
            number += 1
        if draw.random() < 0.15 and len(lasts) < len(asked):
            engine.cancel(draw.choice([name for name in list(asked)[-30:] if name not in lasts] or ["none"]))
        for delta in engine.step():
            assert delta.id not in lasts, "nothing may follow the last delta"
            tokens.setdefault(delta.id, []).extend(facts.token for facts in delta.tokens)
            if delta.finish_reason:
                lasts[delta.id] = delta
        step += 1
        if step % 10 == 0:
            engine.check()
    engine.check()
    facts = engine.facts()
    assert (facts.running, facts.waiting, facts.pages_held) == (0, 0, 0)
    assert facts.preempted > count // 50 and facts.cached_tokens > count // 2
    assert lasts.keys() == asked.keys()
    assert all(last.output_tokens == len(tokens.get(name, [])) for name, last in lasts.items())
    assert {last.finish_reason for last in lasts.values()} == {"stop", "length", "cancelled"}
    again(engine, draw, asked, lasts, tokens)


def again(engine: Engine, draw: random.Random, asked: dict, lasts: dict, tokens: dict) -> None:
    """Some of them alone: the same tokens as in the crowd."""
    whole = [name for name, last in lasts.items() if last.finish_reason != "cancelled" and asked[name].grammar is None]
    for name in draw.sample(whole, 25):
        engine.submit(dataclasses.replace(asked[name], salt=f"again {name}"))
        assert run(engine)[name].tokens == tokens[name]


def test_five_hundred_mixed_requests_leak_no_page(tmp_path: Path) -> None:
    mixed(500, tmp_path, seed=1)


@pytest.mark.prove
def test_ten_thousand_mixed_requests_leak_no_page(tmp_path: Path) -> None:
    mixed(10_000, tmp_path, seed=2)
