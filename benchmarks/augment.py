"""What augmentation costs: its share of a training step, for each kind of input, with the networks that such inputs usually get.

    python benchmarks/augment.py [--quick] [--only texts]

A step is forward, backward and update of a whole network (encoder, trunk, head) on one batch, on one thread; behind each step one of the
augmentations gives its next batch, in turns: a step leaves the caches to itself, and of two in a row the second one seems cheap. They are
called as the loop calls them: texts of several batches are changed at once, so that theirs are means over as many batches.
Processor time; the share is that of the medians; "all" is one after the other. Prints a table and, as its last line, one JSON list.
Exits 1 where an aim does not hold. One function for each kind: a new kind adds one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from lode.core.registry import REGISTRIES  # noqa: E402
from lode.core.types import Component, TensorSpec  # noqa: E402
from lode.model.allocator import kept_memory  # noqa: E402
from lode.model.batches import Batch  # noqa: E402
from lode.model.mixing import Changes  # noqa: E402
from lode.model.modules import Augment  # noqa: E402
from lode.model.network import Group, NetworkModule  # noqa: E402

AIM = 0.05
AHEAD = 32
TRUNK = {"fusion": "concat", "width": 256, "depth": 2, "dropout": 0.2, "norm": "none", "activation": "relu", "members": 1}


@dataclass
class Case:
    """An input with its encoder, a batch of it, and what is done to it. words: what codes of texts stand for.

    bf16: train in bfloat16, as `precision: auto` does for large steps where the chip is fast at it. together: time all of them at once.
    ahead: batches that may be changed at once.
    """

    name: str
    spec: TensorSpec
    encoder: Component
    batch: torch.Tensor
    augments: list[Component]
    words: list[str] = field(default_factory=list)
    bf16: bool = False
    together: bool = False
    ahead: int = 1


def texts(folder: Path) -> Iterator[Case]:
    """64 texts of 128 words; a list of 2,000 words with synonyms."""
    spec = TensorSpec("int32", (128,), ragged=(0,), cardinality=20_000)
    words = ["", "", *(f"w{code}" for code in range(2, 20_000))]
    (folder / "alike.txt").write_text("\n".join(f"w{code},w{code + 1},w{code + 2}" for code in range(2, 2000, 3)), encoding="utf-8")
    lengths = torch.randint(60, 129, (64, 1), generator=torch.Generator().manual_seed(0))
    x = torch.randint(1, 20_000, (64, 128), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    x = x * (torch.arange(128) < lengths)
    each = [Component("drop"), Component("swap"), Component("synonyms", {"path": str(folder / "alike.txt")})]
    for encoder in ("pooled", "textcnn", "lstm", "transformer"):
        yield Case(f"texts {encoder}", spec, Component(encoder), x, each, words, ahead=AHEAD)
        yield Case(f"texts {encoder}, all", spec, Component(encoder), x, each, words, together=True, ahead=AHEAD)


def pictures(folder: Path) -> Iterator[Case]:
    """Every word on the networks of the recipes: cats-dogs (150 pixels), cifar10-resnet and cifar10-fast (32 pixels)."""
    words = ["flip", "crop", "rotate", "shear", "zoom", "colour", "erase", "policy", "mixup", "cutmix"]
    for name, encoder, rows, side in _NETWORKS:
        yield Case(f"pictures {name}", _picture(side), encoder, _pixels(rows, side), [Component(word) for word in words], bf16=True)


def recipes(folder: Path) -> Iterator[Case]:
    """What the recipes write under `augment`, all of it."""
    keras = [Component("shear", {"degrees": 0.2}), Component("zoom"), Component("flip")]
    fast = [Component("flip"), Component("crop", {"border": 2})]
    for (name, encoder, rows, side), augments in zip(_NETWORKS, (keras, [Component("flip"), Component("crop")], fast), strict=True):
        yield Case(f"recipe {name}", _picture(side), encoder, _pixels(rows, side), augments, bf16=True, together=True)


def tables(folder: Path) -> Iterator[Case]:
    """20 numbers, batch of 1,024, the default network for tables."""
    x = torch.randn(1024, 20, generator=torch.Generator().manual_seed(0))
    encoder = Component("mlp", {"depth": 0, "embedding": "periodic"})
    yield Case("tables mlp", TensorSpec("float32", (20,)), encoder, x, [Component("noise"), Component("mixup")])


def sounds(folder: Path) -> Iterator[Case]:
    """32 recordings of a second at 8 kHz: the batch of the recipe spoken-digits, and its network."""
    spec = TensorSpec("int16", (8000,), offset=(0.0,), scale=(1 / 32768,), rate=8000)
    x = torch.randint(-9000, 9000, (32, 8000), generator=torch.Generator().manual_seed(0), dtype=torch.int16)
    words = [Component("gain"), Component("noise"), Component("shift")]
    yield Case("sounds mel_cnn", spec, Component("mel_cnn", {"channels": [24, 48, 96]}), x, words)
    yield Case("sounds mel_transformer", spec, Component("mel_transformer"), x, words)


def series(folder: Path) -> Iterator[Case]:
    """64 series of 150 to 200 steps with two channels."""
    x = torch.randn(64, 200, 2, generator=torch.Generator().manual_seed(0))
    lengths = torch.randint(150, 201, (64, 1, 1), generator=torch.Generator().manual_seed(1))
    x = x.masked_fill(torch.arange(200)[:, None] >= lengths, float("nan"))
    for encoder in ("tcn", "patch_tst", "lstm"):
        words = [Component("jitter"), Component("scale"), Component("warp")]
        yield Case(f"series {encoder}", TensorSpec("float32", (200, 2), ragged=(0,)), Component(encoder), x, words)


_CNN = {"channels": [32, 64, 128], "padding": "valid", "norm": "none", "dense": 512, "dropout": 0.5}
_NETWORKS = (
    ("cats-dogs", Component("cnn", _CNN), 32, 150),
    ("cifar10-resnet", Component("resnet"), 256, 32),
    ("cifar10-fast", Component("airbench"), 512, 32),
)


def _picture(side: int) -> TensorSpec:
    return TensorSpec("uint8", (side, side, 3), offset=(120.0,) * 3, scale=(0.016,) * 3)


def _pixels(rows: int, side: int) -> torch.Tensor:
    return torch.randint(0, 256, (rows, side, side, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


KINDS = {"texts": texts, "pictures": pictures, "recipes": recipes, "tables": tables, "sounds": sounds, "series": series}


def share(case: Case, repeats: int) -> dict[str, Any]:
    """Seconds of a step without augmentation, and of each augmentation."""
    torch.manual_seed(0)
    options = {**TRUNK, "init": "default"}
    module = NetworkModule({"x": case.spec}, [Group(("x",), case.encoder)], {"y": 2}, **options).train()
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    target_B = torch.arange(len(case.batch)) % 2
    steps: dict[str, Augment] = {}
    for component in case.augments:
        augment = REGISTRIES["augment"].create(component, case.spec)
        augment.read_words(case.words)
        steps[component.type] = augment
    made = {" + ".join(steps): list(steps.values())} if case.together else {word: [step] for word, step in steps.items()}
    generator = torch.Generator().manual_seed(0)
    changed = {word: Changes({"x": own})(_same(case.batch), generator) for word, own in made.items()}
    step_s: list[float] = []
    augment_s: dict[str, list[float]] = {word: [] for word in made}
    for batches in changed.values():
        for _ in range(max(2, case.ahead)):
            next(batches)
    words = list(made)
    rounds = -(-max(repeats // len(words), 8) // case.ahead)
    for number in range(-2, rounds * case.ahead * len(words)):
        begin_s = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=case.bf16):
            scores = module({"x": case.batch})["y"]
        torch.nn.functional.cross_entropy(scores, target_B).backward()
        optimizer.step()
        optimizer.zero_grad()
        spent_s = time.process_time() - begin_s
        if number < 0:
            continue
        word = words[number % len(words)]
        begin_s = time.process_time()
        next(changed[word])
        step_s.append(spent_s)
        augment_s[word].append(time.process_time() - begin_s)
    return {
        "step_s": statistics.median(step_s),
        "augment_s": {word: _typical(found, case.ahead) for word, found in augment_s.items()},
    }


def _same(x: torch.Tensor) -> Iterator[list[Batch]]:
    while True:
        yield [Batch({"x": x}, {}, {}, len(x))]


def _typical(seconds: list[float], ahead: int) -> float:
    """Of one batch: the median, where several are changed at once of their means."""
    return statistics.median(statistics.mean(seconds[at : at + ahead]) for at in range(0, len(seconds), ahead))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repeats")
    parser.add_argument("--only", choices=sorted(KINDS), help="one kind")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    claims = []
    print(f"{'case':24} {'step ms':>8}  augmentation ms (share of the step with it)")
    # As in the training loop, freed memory is kept from step to step
    with tempfile.TemporaryDirectory() as folder, kept_memory():
        for kind, cases in KINDS.items():
            if chosen.only in (None, kind):
                claims += [measure(case, 5 if chosen.quick else 40) for case in cases(Path(folder))]
    print(json.dumps(claims))
    return 0 if all(claim["holds"] for claim in claims) else 1


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """One line of the table, and its claim: each augmentation takes at most 5 % of a step with it."""
    found = share(case, repeats)
    shares = {word: seconds / (found["step_s"] + seconds) for word, seconds in found["augment_s"].items()}
    part = max(shares.values())
    each = ", ".join(f"{word} {1000 * found['augment_s'][word]:.2f} ({100 * own:.1f} %)" for word, own in shares.items())
    print(f"{case.name:24} {1000 * found['step_s']:8.1f}  {each}", flush=True)
    return {
        "name": f"the dearest augmentation, {case.name}", "ours": part, "peer": AIM, "peer_name": "the aim", "unit": "share of a step",
        "ratio": AIM / part if part else float("inf"),
        "spread": [AIM / other if other else float("inf") for other in (part, min(shares.values()))], "aim": 1.0, "holds": part <= AIM,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
