"""nanoGPT's CPU configuration of Shakespeare by characters: our training step beside nanoGPT's, written in plain torch, in one process.

    python benchmarks/nanogpt.py [--quick] [--steps 2000] [--threads 1] [--modes fp32,all]

Characters, 4 layers, 4 heads, width 128, context 64, batch 12, 2,000 steps, AdamW (0.9, 0.99), weight decay 0.1, learning rate 1e-3 to
1e-4 by cosine after 100 steps, clip 1.0, no dropout, no biases (nanoGPT README and config/train_shakespeare_char.py, commit 3adf61e1).
The peer is nanoGPT's model.py and the body of its train.py, fp32 and eager as it runs on a CPU, with torch's fused AdamW (which is faster
than what nanoGPT takes there). Both train in turns of some steps: whenever our loop reports, the peer takes as many steps, so that
whatever else the machine does hits both. `fp32` is our loop in the same precision; `all` leaves precision to lode (bf16 where the chip is
fast at it), `compile` also compiles. Validation loss: the last tenth of the text, all of it, for both.
Last line: a JSON list. Exit 1: an aim is missed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 4, 4, 128, 64, 12
RATE, LEAST_RATE, WARMUP = 1e-3, 1e-4, 100
AIMS = {"fp32": 1.0, "all": 1.5, "compile": 1.5}
LOSS_AIM = 1.88
PEER = "nanoGPT's step in plain torch, fp32"


# --- The peer: nanoGPT's model.py -----------------------------------------------------------------------------------------------------


class LayerNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, None, 1e-5)


class CausalSelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c_attn = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.c_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.resid_dropout = nn.Dropout(0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(WIDTH, dim=2)
        k = k.view(B, T, HEADS, C // HEADS).transpose(1, 2)
        q = q.view(B, T, HEADS, C // HEADS).transpose(1, 2)
        v = v.view(B, T, HEADS, C // HEADS).transpose(1, 2)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=True)
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C)))


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c_fc = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.gelu = nn.GELU()
        self.c_proj = nn.Linear(4 * WIDTH, WIDTH, bias=False)
        self.dropout = nn.Dropout(0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.c_proj(self.gelu(self.c_fc(x))))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.attn, self.ln_2, self.mlp = LayerNorm(WIDTH), CausalSelfAttention(), LayerNorm(WIDTH), MLP()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.wte, self.wpe, self.drop = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH), nn.Dropout(0.0)
        self.h, self.ln_f = nn.ModuleList(Block() for _ in range(LAYERS)), LayerNorm(WIDTH)
        self.lm_head = nn.Linear(WIDTH, vocabulary, bias=False)
        self.wte.weight = self.lm_head.weight
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, 0.0, 0.02 / math.sqrt(2 * LAYERS) if name.endswith("c_proj.weight") else 0.02)

    def forward(self, idx: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        pos = torch.arange(0, idx.size(1), dtype=torch.long)
        x = self.drop(self.wte(idx) + self.wpe(pos))
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        return functional.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)


class Peer:
    """The body of nanoGPT's train.py."""

    def __init__(self, folder: Path, vocabulary: int, steps: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.folder, self.steps, self.step = folder, steps, 0
        self.model = GPT(vocabulary)
        weights = list(self.model.parameters())
        groups = [
            {"params": [item for item in weights if item.dim() >= 2], "weight_decay": 0.1},
            {"params": [item for item in weights if item.dim() < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99), fused=True)
        self.x, self.y = self.get_batch()

    def get_batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        data = np.memmap(self.folder / "train.bin", dtype=np.uint16, mode="r")
        ix = torch.randint(len(data) - CONTEXT, (BATCH,))
        x = torch.stack([torch.from_numpy((data[i : i + CONTEXT]).astype(np.int64)) for i in ix])
        y = torch.stack([torch.from_numpy((data[i + 1 : i + 1 + CONTEXT]).astype(np.int64)) for i in ix])
        return x, y

    def rate(self) -> float:
        if self.step < WARMUP:
            return RATE * (self.step + 1) / (WARMUP + 1)
        done = (self.step - WARMUP) / (self.steps - WARMUP)
        return LEAST_RATE + 0.5 * (1.0 + math.cos(math.pi * done)) * (RATE - LEAST_RATE)

    def train(self, steps: int) -> float:
        """Seconds of so many steps."""
        start = time.perf_counter()
        for _ in range(steps):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate()
            loss = self.model(self.x, self.y)
            self.x, self.y = self.get_batch()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            if self.step % 10 == 0:
                loss.item()
            self.step += 1
        return time.perf_counter() - start

    def validation_loss(self, data: np.ndarray) -> float:
        with torch.inference_mode():
            total = 0.0
            for x, y in windows(data):
                total += float(self.model(x, y)) * y.numel()
            return total / (len(data) - 1)


def windows(data: np.ndarray) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The whole text in windows side by side, many at once; the last one is shorter."""
    whole = (len(data) - 1) // CONTEXT
    x, y = (torch.from_numpy(data[at : at + whole * CONTEXT].astype(np.int64)).view(whole, CONTEXT) for at in (0, 1))
    yield from zip(x.split(256), y.split(256), strict=True)
    if rest := (len(data) - 1) % CONTEXT:
        yield tuple(torch.from_numpy(data[len(data) - 1 - rest + at :][:rest].astype(np.int64))[None] for at in (0, 1))


# --- Ours -----------------------------------------------------------------------------------------------------------------------------


def train_ours(mode: str, data: dict[str, np.ndarray], vocabulary: int, steps: int, threads: int, peer: Peer, seed: int):
    """Our family `language`, with the peer's steps in between; (validation loss, seconds per step of both by turn, choices)."""
    sys.path.insert(0, str(ROOT))
    from lode.core.registry import REGISTRIES
    from lode.core.types import Component, FlatSpec, TensorSpec
    from lode.model import fit as loop
    from lode.model.contracts import Context, Examples, Shapes
    from lode.model.language import rows as token_rows
    from lode.model.training import Training

    token_rows._CHUNK_BATCHES = 16  # the loop reports, and turns change, after a chunk; it costs us a little

    shapes = Shapes({"tokens": TensorSpec("int64", (), cardinality=vocabulary)}, FlatSpec((), ()))
    architecture = {"type": "gpt2", "layers": LAYERS, "heads": HEADS, "width": WIDTH, "context": CONTEXT, "bias": False}
    family = REGISTRIES["family"].create(Component("language", {"architecture": architecture, "packing": "stream"}), shapes, {})
    rows = {name: Examples(1, {"tokens": part, "documents": np.array([0, len(part)])}, None) for name, part in data.items()}
    training = Training(
        steps=steps, judge_steps=steps, batch=BATCH, optimizer="adamw", beta2=0.99, weight_decay=0.1, learning_rate=RATE, clip=1.0,
        schedule="cosine", warmup=min(1.0, WARMUP / steps), final_rate=LEAST_RATE / RATE, threads=threads,
        precision="fp32" if mode == "fp32" else "auto", compile=mode == "compile",
    )  # fmt: skip
    loop._STRETCH_S = 0.0
    seconds: list[tuple[float, float]] = []
    mark = {"done": 0, "at": 0.0}

    def report(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        ours, number = time.perf_counter() - mark["at"], done - mark["done"]
        theirs = peer.train(number)
        if mark["at"]:  # what came before the first report is not only steps
            seconds.append((ours / number, theirs / number))
        mark.update(done=done, at=time.perf_counter())

    fitted = family.fit(rows["train"], rows["val"], Context(seed=seed, training=training, progress=report))
    return fitted.history[-1]["stop_loss"], seconds, fitted.choices


# --- The claims -----------------------------------------------------------------------------------------------------------------------


def read(data: Path) -> tuple[dict[str, np.ndarray], int]:
    """Characters as numbers, the last tenth for validation."""
    text = gzip.decompress((data / "lm-corpus" / "tinyshakespeare.txt.gz").read_bytes()).decode()
    numbers = {character: number for number, character in enumerate(sorted(set(text)))}
    tokens = np.array([numbers[character] for character in text], np.uint16)
    cut = int(0.9 * len(tokens))
    return {"train": tokens[:cut], "val": tokens[cut:]}, len(numbers)


def compare(mode: str, data: dict[str, np.ndarray], vocabulary: int, steps: int, threads: int, home: Path) -> list[dict]:
    """One training of both, and what is claimed."""
    torch.set_num_threads(threads)
    peer = Peer(home, vocabulary, steps, seed=1337)
    peer.train(5)  # both begin warm
    peer.step = 0
    loss, seconds, choices = train_ours(mode, data, vocabulary, steps, threads, peer, seed=1337)
    their_loss = peer.validation_loss(data["val"])
    ratios = sorted(theirs / ours for ours, theirs in seconds)
    ours, theirs = (statistics.median(pair[side] for pair in seconds) for side in (0, 1))
    ratio, aim = statistics.median(ratios), AIMS[mode]
    low, high = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
    print(f"{mode}: lode {1e3 * ours:.2f} ms, nanoGPT {1e3 * theirs:.2f} ms a step, ratio {ratio:.3f} [{low:.3f}, {high:.3f}] "
          f"over {len(seconds)} turns; validation loss {loss:.4f}, nanoGPT {their_loss:.4f}; {choices['precision']}, "
          f"compile {choices['compile']}, {threads} threads, utilisation {choices['mfu']:.2f}", flush=True)  # fmt: skip
    speed = {"name": f"nanogpt {mode} step", "ours": 1e3 * ours, "peer": 1e3 * theirs, "peer_name": PEER, "unit": "ms",
             "ratio": ratio, "spread": [low, high], "aim": aim, "holds": ratio >= aim}  # fmt: skip
    both = max(loss, their_loss)
    quality = {"name": f"nanogpt {mode} validation loss", "ours": loss, "peer": their_loss, "peer_name": PEER, "unit": "nats",
               "ratio": LOSS_AIM / loss, "spread": [LOSS_AIM / both, LOSS_AIM / min(loss, their_loss)], "aim": 1.0,
               "holds": loss <= LOSS_AIM}  # fmt: skip
    return [speed] if steps < 2000 else [speed, quality]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200 steps, speed only")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--modes", default="fp32,all")
    parser.add_argument("--data", type=Path, help="the folder with lm-corpus/ (default: LODE_DATA)")
    args = parser.parse_args()
    folder = args.data or Path(os.environ.get("LODE_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "lm-corpus").is_dir():
        print(f"no lm-corpus in {folder}: give the folder with --data, or set LODE_DATA", file=sys.stderr)
        return 2
    home = Path.home() / ".cache" / "lode-bench" / "nanogpt"
    home.mkdir(parents=True, exist_ok=True)
    data, vocabulary = read(folder)
    data["train"].tofile(home / "train.bin")
    steps = 200 if args.quick else args.steps
    claims = [claim for mode in args.modes.split(",") for claim in compare(mode, data, vocabulary, steps, args.threads, home)]
    for claim in claims:
        low, high = claim["spread"]
        verdict = "holds" if claim["holds"] else "DOES NOT HOLD"
        print(f"{claim['name']}: {claim['ratio']:.3f} [{low:.3f}, {high:.3f}], aim {claim['aim']}: {verdict}")
    print(json.dumps(claims))
    return 0 if all(claim["holds"] for claim in claims) else 1


if __name__ == "__main__":
    raise SystemExit(main())
