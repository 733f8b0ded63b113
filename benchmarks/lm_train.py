"""Tokens a second of pretraining, beside Hugging Face Trainer: the same weights, tokens, order of rows, precision and optimizer.

    python benchmarks/lm_train.py [--quick] [--shapes llama,gpt2] [--precisions fp32,bf16] [--steps 40] [--threads 1]

6 layers, 6 heads, width 384, context 256, vocabulary 4,096, batch 8, AdamW, clip 1.0, no accumulation, no evaluation, no dropout. Tokens
are drawn from Zipf's law: speed does not depend on what they say. The peer is `transformers.Trainer` as its documentation uses it, on the
folder that our family saved, with sdpa attention and torch's fused AdamW. Both train in one process and take turns: when our loop reports,
the peer's callback lets it go on until it has taken as many steps. Trainer's losses of the first steps must be ours (same weights,
same rows), else nothing is claimed. Needs transformers and accelerate. Last line: a JSON list. Exit 1: an aim is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
LAYERS, HEADS, WIDTH, CONTEXT, BATCH, VOCABULARY = 6, 6, 384, 256, 8, 4096
RATE = 3e-4
AIM = 1.3


def corpus(rows: int) -> np.ndarray:
    """Tokens of so many rows, uint16 (rows * (CONTEXT + 1),)."""
    random = np.random.default_rng(0)
    return np.minimum(random.zipf(1.2, rows * (CONTEXT + 1)) - 1, VOCABULARY - 1).astype(np.uint16)


class Turns:
    """Lets two threads run one at a time, and measures each one's share."""

    def __init__(self) -> None:
        self.owner, self.changed = "ours", threading.Condition()
        self.ready = threading.Event()
        self.seconds: dict[str, list[float]] = {"ours": [], "peer": []}
        self.since, self.over = 0.0, False

    def wait(self, who: str) -> None:
        """Until it is this one's turn."""
        with self.changed:
            self.changed.wait_for(lambda: self.owner == who or self.over)
        self.since = time.perf_counter()

    def hand_over(self, who: str, steps: int) -> None:
        """This one has taken so many steps; the other goes on, and this one waits."""
        self.seconds[who].append((time.perf_counter() - self.since) / steps)
        with self.changed:
            self.owner = "peer" if who == "ours" else "ours"
            self.changed.notify_all()
        self.wait(who)

    def end(self) -> None:
        """Nobody waits any more."""
        with self.changed:
            self.over = True
            self.changed.notify_all()


def family(shape: str):
    """Our family `language`, fresh."""
    sys.path.insert(0, str(ROOT))
    from lode.core.registry import REGISTRIES
    from lode.core.types import Component, FlatSpec, TensorSpec
    from lode.model.contracts import Shapes

    shapes = Shapes({"tokens": TensorSpec("int64", (), cardinality=VOCABULARY)}, FlatSpec((), ()))
    architecture = {"type": shape, "layers": LAYERS, "heads": HEADS, "width": WIDTH, "context": CONTEXT}
    return REGISTRIES["family"].create(Component("language", {"architecture": architecture}), shapes, {})


def examples(tokens: np.ndarray):
    """One document a row, so that both sides see the same rows."""
    from lode.model.contracts import Examples

    offsets = np.arange(0, len(tokens) + 1, CONTEXT + 1, dtype=np.int64)
    return Examples(len(offsets) - 1, {"tokens": tokens, "documents": offsets}, None)


def train_ours(shape: str, precision: str, tokens: np.ndarray, steps: int, threads: int, turn_steps: int, turns: Turns):
    """Mean loss of each turn, and the choices."""
    from lode.model import fit as loop
    from lode.model.contracts import Context
    from lode.model.training import Training

    ours = family(shape)
    loop._STRETCH_STEPS = turn_steps
    training = Training(steps=steps, judge_steps=turn_steps, batch=BATCH, optimizer="adamw", beta2=0.999, weight_decay=0.0,
                        learning_rate=RATE, clip=1.0, schedule="constant", warmup=0.0, threads=threads, precision=precision)  # fmt: skip

    def report(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        turns.hand_over("ours", turn_steps)

    turns.wait("ours")
    fitted = ours.fit(examples(tokens), None, Context(seed=0, training=training, progress=report))
    turns.end()
    return [entry["train_loss"] for entry in fitted.history], fitted.choices


def first_weights(shape: str, folder: Path) -> None:
    """What our fit begins with, as a Hugging Face folder."""
    from lode.model.language import weights

    made = family(shape)
    weights.save(made._pupil._begin(0)[1], made.architecture, folder)


def rows_in_our_order(tokens: np.ndarray, steps: int) -> torch.Tensor:
    """Rows (steps * BATCH, CONTEXT + 1) as our loop takes them, seed 0."""
    from lode.model.language.rows import TokenRows

    rows = TokenRows(examples(tokens), "documents", CONTEXT, "cpu", seed=0)
    index = rows.trainable
    passes = [
        index[np.random.default_rng([0, number]).permutation(len(index))] for number in range(1 + steps * BATCH // len(index))
    ]
    order = np.concatenate(passes)[: steps * BATCH]
    batches = list(rows.batches(order, BATCH))
    return torch.cat([torch.cat([batch.tokens_BT, batch.targets_BT[:, -1:]], dim=1) for batch in batches])


class Fixed(torch.utils.data.Dataset):
    """Rows as Trainer wants them. `shift_labels`: they are shifted already, so that the last position is learned too."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[at, :-1], "labels": self.rows[at, 1:], "shift_labels": self.rows[at, 1:]}


def train_peer(
    precision: str, rows: torch.Tensor, steps: int, turn_steps: int, turns: Turns, start: Path, losses: list[float]
) -> None:
    """transformers.Trainer."""
    from transformers import AutoModelForCausalLM, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    model = AutoModelForCausalLM.from_pretrained(start, attn_implementation="sdpa")

    class Callback(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            turns.ready.set()
            turns.wait("peer")

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % turn_steps == 0:
                turns.hand_over("peer", turn_steps)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                losses.append(float(logs["loss"]))

    class Ordered(Trainer):
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=RATE, lr_scheduler_type="constant",
            weight_decay=0.0, max_grad_norm=1.0, optim="adamw_torch_fused", bf16=precision == "bf16", use_cpu=True, save_strategy="no",
            logging_steps=turn_steps, report_to=[], disable_tqdm=True, dataloader_num_workers=0, seed=0,
            remove_unused_columns=False,
        )  # fmt: skip
        trainer = Ordered(model=model, args=arguments, train_dataset=Fixed(rows), callbacks=[Callback()])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    turns.end()


def compare(shape: str, precision: str, steps: int, threads: int, turn_steps: int) -> dict[str, Any]:
    """One training of both in turns."""
    torch.set_num_threads(threads)
    tokens = corpus(steps * BATCH)
    turns, their_losses = Turns(), []
    with tempfile.TemporaryDirectory() as folder:
        first_weights(shape, Path(folder))
        rows = rows_in_our_order(tokens, steps)
        peer = threading.Thread(
            target=train_peer, args=(precision, rows, steps, turn_steps, turns, Path(folder), their_losses), daemon=True
        )
        peer.start()
        turns.ready.wait()  # Trainer seeds the generator from which our first weights are drawn
        losses, choices = train_ours(shape, precision, tokens, steps, threads, turn_steps, turns)
        peer.join()
    # The same weights, rows and steps: but for rounding, the losses must be the same
    off = max(abs(a - b) for a, b in zip(losses, their_losses, strict=True))
    if off > (0.02 if precision == "fp32" else 0.05):
        raise SystemExit(
            f"{shape} {precision}: the losses differ by {off:.4f}, so these are not the same trainings\n{losses}\n{their_losses}"
        )
    ours, theirs = (values[1:] for values in (turns.seconds["ours"], turns.seconds["peer"]))  # the first turn warms up
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=False))
    own, other = (BATCH * CONTEXT / statistics.median(values) for values in (ours, theirs))
    ratio = statistics.median(ratios)
    print(f"{shape} {precision}: lode {own:,.0f}, Trainer {other:,.0f} tokens a second, "
          f"ratio {ratio:.3f} [{ratios[0]:.3f}, {ratios[-1]:.3f}] over {len(ratios)} turns of {turn_steps} steps; "
          f"utilisation {choices['mfu']:.2f}; losses differ by at most {off:.4f}",
          flush=True)  # fmt: skip
    return {"name": f"lm_train {shape} {precision}", "ours": own, "peer": other, "peer_name": "transformers.Trainer", "unit": "tokens/s",
            "ratio": ratio, "spread": [ratios[0], ratios[-1]], "aim": AIM, "holds": ratio >= AIM}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="12 steps")
    parser.add_argument("--shapes", default="llama,gpt2")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    steps = 12 if args.quick else args.steps
    claims = [
        compare(shape, precision, steps, args.threads, 2)
        for shape in args.shapes.split(",")
        for precision in args.precisions.split(",")
    ]
    for claim in claims:
        low, high = claim["spread"]
        verdict = "holds" if claim["holds"] else "DOES NOT HOLD"
        print(f"{claim['name']}: {claim['ratio']:.3f} [{low:.3f}, {high:.3f}], aim {claim['aim']}: {verdict}")
    print(json.dumps(claims))
    return 0 if all(claim["holds"] for claim in claims) else 1


if __name__ == "__main__":
    raise SystemExit(main())
