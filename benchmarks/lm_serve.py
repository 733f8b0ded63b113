"""Serving language models: output tokens a second beside `transformers`, one process, one thread, the same weights.

Requests with prompts of 16 to 512 tokens and answers of 16 to 256 (uniform, fixed by seed), three times as many as run at a time, all
there from the beginning. Ours keeps that many running. `generate` takes them in static batches of that size, padded on the left, and
waits for the longest. `generate_batch` is the continuous batching of transformers with that many running (it runs on processors). All
decode greedily, and answers end by length only; in float32 ours must give the tokens of `generate` one by one. A ratio is that of one
turn; turns alternate who is first. Both engines have answered a short request before the clock starts, so that what they set up once is
outside. Beside wall-clock stands processor time of the same span, which other processes disturb less.

    OMP_NUM_THREADS=1 python benchmarks/lm_serve.py [--quick] [--dtype float32|bfloat16|both] [--groups 4]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from lode.model.language import weights
from lode.model.language.engine.contracts import Request, Sampling
from lode.model.language.engine.engine import Engine

AIMS = {1: 1.0, 8: 1.0, 32: 1.5}
VOCABULARY = 8192


class Numbers:
    """Tokens as text, so that both sides do no more than draw tokens and ours still has its text to write."""

    size, end = VOCABULARY, None

    def decode(self, tokens: Any) -> str:
        return "".join(chr(0x4E00 + token) for token in tokens)


@dataclass(frozen=True)
class Load:
    prompts: list[list[int]]
    lengths: list[int]

    @property
    def output_tokens(self) -> int:
        return sum(self.lengths)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller model, shorter texts, one turn")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "both"), default="both")
    parser.add_argument("--groups", type=int, default=4, help="key and value heads of 8 (default: 4)")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--turns", type=int, default=None)
    parser.add_argument("--no-continuous", action="store_true", help="leave transformers' continuous batching out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    dtypes = [torch.float32, torch.bfloat16] if args.dtype == "both" else [getattr(torch, args.dtype)]
    results = []
    with tempfile.TemporaryDirectory() as name:
        make_model(Path(name), layers=4 if args.quick else 12, groups=args.groups)
        for dtype in dtypes:
            theirs = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=dtype, attn_implementation="sdpa").eval()
            _, decoder = weights.load(Path(name), dtype=dtype)
            for num in args.concurrency:
                load = make_load(num, args.quick)
                results += compare(theirs, decoder, load, num, dtype, args)
    for result in results:
        print(json.dumps(result))
    return 0 if all(result["holds"] for result in results) else 1


def make_model(folder: Path, layers: int, groups: int) -> None:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=512, intermediate_size=1408, num_hidden_layers=layers, num_attention_heads=8,
        num_key_value_heads=groups, max_position_embeddings=1024, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def make_load(num: int, quick: bool) -> Load:
    draw = np.random.default_rng(num)
    count = num * (2 if quick else 3) if num > 1 else (2 if quick else 6)
    prompts = draw.integers(16, 129 if quick else 513, count)
    lengths = draw.integers(16, 65 if quick else 257, count)
    return Load([draw.integers(1, VOCABULARY, int(length)).tolist() for length in prompts], lengths.tolist())


def spent(begin: float, begin_cpu: float) -> dict[str, Any]:
    """Seconds by the clock and of all processors since then."""
    return {"seconds": time.perf_counter() - begin, "cpu_s": time.process_time() - begin_cpu}


def ours(decoder: Any, load: Load, num: int) -> tuple[dict[str, Any], list[list[int]]]:
    engine = Engine(decoder, Numbers(), memory_bytes=1 << 30, max_sequences=num)
    engine.submit(Request(id="first", tokens=[1] * 16, sampling=Sampling(max_tokens=2, temperature=0.0)))
    while engine.has_work:
        engine.step()
    tokens: list[list[int]] = [[] for _ in load.prompts]
    first_s: list[float] = [0.0] * len(load.prompts)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    for number, (prompt, length) in enumerate(zip(load.prompts, load.lengths, strict=True)):
        engine.submit(Request(id=str(number), tokens=prompt, sampling=Sampling(max_tokens=length, temperature=0.0)))
    gaps_s, before = [], begin
    while engine.has_work:
        deltas = engine.step()
        now = time.perf_counter()
        gaps_s.append(now - before)
        before = now
        for delta in deltas:
            number = int(delta.id)
            first_s[number] = first_s[number] or now - begin
            tokens[number] += [facts.token for facts in delta.tokens]
    return {**spent(begin, begin_cpu), "first_s": first_s, "gaps_s": gaps_s}, tokens


def static_batches(model: Any, load: Load, num: int) -> tuple[dict[str, Any], list[list[int]]]:
    tokens, first_s = [], []
    begin, begin_cpu = time.perf_counter(), time.process_time()
    for at in range(0, len(load.prompts), num):
        prompts, lengths = load.prompts[at : at + num], load.lengths[at : at + num]
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        clock = Clock(longest)
        with torch.inference_mode():
            made = model.generate(
                ids, attention_mask=mask, max_new_tokens=max(lengths), min_new_tokens=max(lengths), do_sample=False, streamer=None,
                logits_processor=transformers.LogitsProcessorList([clock]),
            )  # fmt: skip
        first_s += [clock.first - begin] * len(prompts)
        tokens += [row[longest : longest + length].tolist() for row, length in zip(made, lengths, strict=True)]
    return {**spent(begin, begin_cpu), "first_s": first_s}, tokens


class Clock(transformers.LogitsProcessor):
    """Says when the first logits of a batch were there."""

    def __init__(self, length: int) -> None:
        self.length, self.first = length, 0.0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] == self.length:
            self.first = time.perf_counter()
        return scores


def continuous(model: Any, load: Load, num: int) -> tuple[dict[str, Any], list[list[int]]]:
    """transformers' own continuous batching, a request after another as places become free."""
    config = transformers.GenerationConfig(max_new_tokens=max(load.lengths), do_sample=False, eos_token_id=-1, pad_token_id=0)
    page = 256
    blocks = -(-sum(sorted(map(sum, zip(map(len, load.prompts), load.lengths, strict=True)))[-num:]) // page) + 2 * num
    asked = transformers.generation.ContinuousBatchingConfig(
        block_size=page, num_blocks=blocks, max_batch_tokens=max(256, num + 64), max_requests_per_batch=num
    )
    manager = model.init_continuous_batching(generation_config=config, continuous_batching_config=asked)
    tokens: dict[str, list[int]] = {}
    manager.start()
    try:
        manager.add_request([1] * 16, request_id="first", max_new_tokens=2)
        wait_for(manager, tokens, 1)
        begin, begin_cpu = time.perf_counter(), time.process_time()
        for number, (prompt, length) in enumerate(zip(load.prompts, load.lengths, strict=True)):
            manager.add_request(prompt, request_id=str(number), max_new_tokens=length)
        wait_for(manager, tokens, 1 + len(load.prompts))
        figures = spent(begin, begin_cpu)
    finally:
        manager.stop(block=True)
    return figures, [tokens[str(number)] for number in range(len(load.prompts))]


def wait_for(manager: Any, tokens: dict[str, list[int]], count: int) -> None:
    """Until so many requests are answered."""
    while len(tokens) < count:
        result = manager.get_result(timeout=600)
        if result is None:
            raise RuntimeError("transformers' continuous batching gave nothing for ten minutes")
        if result.is_finished():
            tokens[result.request_id] = list(result.generated_tokens)


def compare(theirs: Any, decoder: Any, load: Load, num: int, dtype: torch.dtype, args: Any) -> list[dict[str, Any]]:
    sides = {"lode": (ours, decoder), "generate": (static_batches, theirs)}
    if not args.no_continuous:
        sides["generate_batch"] = (continuous, theirs)
    turns = args.turns or (1 if args.quick else 3)
    warm = Load([prompt[:16] for prompt in load.prompts[: min(2, num)]], [4] * min(2, num))
    for run, model in sides.values():
        run(model, warm, num)
    figures: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    same: dict[str, float] = {}
    for turn in range(turns):
        names = list(sides)[turn % len(sides) :] + list(sides)[: turn % len(sides)]
        made = {}
        for name in names:
            run, model = sides[name]
            figure, made[name] = run(model, load, num)
            figures[name].append(figure)
        same = {name: share_of_same(made["lode"], made[name]) for name in sides if name != "lode"}
    return show(figures, same, load, num, dtype, args)


def share_of_same(one: list[list[int]], other: list[list[int]]) -> float:
    pairs = [a == b for ours_, theirs_ in zip(one, other, strict=True) for a, b in zip(ours_, theirs_, strict=False)]
    return sum(pairs) / sum(map(len, one))


def show(
    figures: dict[str, list[dict[str, Any]]], same: dict[str, float], load: Load, num: int, dtype: torch.dtype, args: Any
) -> list[dict[str, Any]]:
    word = str(dtype).removeprefix("torch.")
    print(f"\n{word}, {num} at a time, {len(load.prompts)} requests, {load.output_tokens} output tokens")
    print(f"{'side':16s} {'tokens/s':>9s} {'tokens/CPU s':>13s} {'first token p50 s':>18s} {'p95 s':>7s} {'same tokens':>12s}")
    results = []
    for name, turns in figures.items():
        rate = statistics.median(load.output_tokens / turn["seconds"] for turn in turns)
        cpu = statistics.median(load.output_tokens / turn["cpu_s"] for turn in turns)
        first = [np.percentile(turn["first_s"], (50, 95)) for turn in turns if "first_s" in turn]
        p50, p95 = (f"{statistics.median(each[i] for each in first):.2f}" if first else "-" for i in (0, 1))
        shared = f"{same[name]:.4f}" if name in same else ""
        print(f"{name:16s} {rate:9.1f} {cpu:13.1f} {p50:>18s} {p95:>7s} {shared:>12s}", flush=True)
    for name in [name for name in figures if name != "lode"]:
        ratios = [theirs["seconds"] / own["seconds"] for own, theirs in zip(figures["lode"], figures[name], strict=True)]
        cpu_ratios = [theirs["cpu_s"] / own["cpu_s"] for own, theirs in zip(figures["lode"], figures[name], strict=True)]
        is_equal = dtype != torch.float32 or same[name] == 1.0 or name != "generate"
        results.append({
            "name": f"lm_serve.{word}.{num}_at_a_time.{name}",
            "ours": round(statistics.median(load.output_tokens / turn["seconds"] for turn in figures["lode"]), 1),
            "peer": round(statistics.median(load.output_tokens / turn["seconds"] for turn in figures[name]), 1),
            "unit": "output tokens/s",
            "ratio": round(statistics.median(ratios), 2),
            "spread": [round(min(ratios), 2), round(max(ratios), 2)],
            "cpu_ratio": round(statistics.median(cpu_ratios), 2),
            "aim": AIMS.get(num, 1.0),
            "same_tokens": round(same[name], 4),
            "holds": statistics.median(ratios) >= AIMS.get(num, 1.0) and is_equal,
        })  # fmt: skip
    gaps = np.concatenate([turn["gaps_s"] for turn in figures["lode"]])
    print(f"ours, a step: p50 {np.percentile(gaps, 50) * 1000:.1f} ms, p95 {np.percentile(gaps, 95) * 1000:.1f} ms")
    return results


if __name__ == "__main__":
    sys.exit(main())
