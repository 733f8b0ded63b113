"""Program P6: 784-128-10 on MNIST, batch 32, 5 epochs, Adam: lode's training loop against Keras on TensorFlow.

    python benchmarks/keras_p6.py [--quick] [--seeds 5] [--data DIR]

Both train the same network on the same rows in processes that take turns; what is compared is the time of the whole training call
(from uninitialised weights to a trained model, validation after each epoch included; imports and reading the files are not) and the
accuracy on the test rows. Keras lives in an environment of its own, made at the first run under ~/.cache/lode-bench.
Prints a table and, as its last line, one JSON list. Exits 1 where an aim does not hold.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEER = "keras 3 on tensorflow-cpu 2.21"
PACKAGES = ["tensorflow-cpu==2.21.*", "keras==3.*"]
SPEED_AIM, SPEED_GOAL = 3.0, 5.0
FILES = {"train": "train", "test": "t10k"}


def read_mnist(folder: Path):
    """Pictures uint8 (N, 28, 28) and digits int64 (N,) of both splits, from the IDX files."""
    import numpy as np

    found = {}
    for split, stem in FILES.items():
        pixels = gzip.decompress((folder / f"{stem}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((folder / f"{stem}-labels-idx1-ubyte.gz").read_bytes())
        found[split] = (
            np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28).copy(),
            np.frombuffer(labels, np.uint8, offset=8).astype(np.int64),
        )
    return found


def train_ours(folder: Path, seed: int, epochs: int) -> dict[str, float]:
    """The program as a lode.yaml would give it to the family `network`: encoder mlp (width 128, depth 1), no trunk, one head."""
    sys.path.insert(0, str(ROOT))
    import numpy as np

    from lode.core.registry import REGISTRIES
    from lode.core.types import Component, FlatSpec, TensorSpec
    from lode.model.contracts import Context, Examples, Shapes
    from lode.model.training import Training

    data = read_mnist(folder)
    task = REGISTRIES["task"].create(Component("multiclass"))
    task.fit(np.array([str(digit) for digit in data["train"][1]], object))
    rows = {
        split: Examples(len(digits), {"image": pixels[..., None]}, None, {"digit": digits})
        for split, (pixels, digits) in data.items()
    }
    shapes = Shapes(
        {"image": TensorSpec("uint8", (28, 28, 1), scale=(1 / 255,))},
        FlatSpec((), ()),
        {"image": Component("mlp", {"width": 128, "depth": 1})},
    )
    family = REGISTRIES["family"].get("network")
    train, stop = rows["train"].take(np.arange(54_000)), rows["train"].take(np.arange(54_000, 60_000))
    context = Context(seed=seed, training=Training(optimizer="adam", batch=32, epochs=epochs))
    start = time.perf_counter()
    network = family(shapes, {"digit": task}, depth=0)
    network.fit(train, stop, context)
    seconds = time.perf_counter() - start
    right = network.predict(rows["test"])["digit"].argmax(axis=1) == data["test"][1]
    return {"seconds": seconds, "accuracy": float(right.mean()), "parameters": network.cost().parameters}


def train_keras(folder: Path, seed: int, epochs: int) -> dict[str, float]:
    """The program as its tutorial has it."""
    import keras

    data = read_mnist(folder)
    x, x_test = (data[split][0].reshape(-1, 784).astype("float32") / 255 for split in FILES)
    y, y_test = (keras.utils.to_categorical(data[split][1], 10) for split in FILES)
    keras.utils.set_random_seed(seed)
    start = time.perf_counter()
    dense = keras.layers.Dense
    model = keras.Sequential([keras.Input((784,)), dense(128, activation="relu"), dense(10, activation="softmax")])
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=epochs, validation_split=0.1, verbose=0)
    seconds = time.perf_counter() - start
    accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
    return {"seconds": seconds, "accuracy": float(accuracy), "parameters": model.count_params()}


def peer_python() -> Path:
    """The interpreter of the environment that has Keras, made at the first call."""
    folder = Path.home() / ".cache" / "lode-bench" / "keras"
    python, marker = folder / "bin" / "python", folder / "lode-ready"
    if not marker.exists():
        print(f"installing {' '.join(PACKAGES)} into {folder} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        marker.touch()
    return python


def measure(python: Path | str, worker: str, data: Path, seed: int, epochs: int) -> dict[str, float]:
    """One training run in a fresh process."""
    command = f"--worker {worker} --seed {seed} --epochs {epochs} --data".split()
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([str(python), __file__, *command, str(data)], check=True, env=quiet, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(data: Path, seeds: int, epochs: int) -> list[dict]:
    """Runs that take turns, a table of them, and what is claimed."""
    peer = peer_python()
    ours, theirs = [], []
    print(f"{'seed':>4} {'lode s':>8} {'keras s':>8} {'ratio':>6} {'lode acc':>9} {'keras acc':>9}")
    for seed in range(seeds):
        ours.append(measure(sys.executable, "ours", data, seed, epochs))
        theirs.append(measure(peer, "keras", data, seed, epochs))
        own, other = ours[-1], theirs[-1]
        assert own["parameters"] == other["parameters"] == 101_770, "not the same network"
        ratio = other["seconds"] / own["seconds"]
        print(
            f"{seed:>4} {own['seconds']:>8.2f} {other['seconds']:>8.2f} {ratio:>6.2f} "
            f"{own['accuracy']:>9.4f} {other['accuracy']:>9.4f}",
            flush=True,
        )
    return [_speed(ours, theirs), _accuracy(ours, theirs)]


def _speed(ours: list[dict], theirs: list[dict]) -> dict:
    ratios = sorted(b["seconds"] / a["seconds"] for a, b in zip(ours, theirs, strict=True))
    ratio = statistics.median(ratios)
    return {
        "name": "keras_p6 training time",
        "ours": statistics.median(run["seconds"] for run in ours),
        "peer": statistics.median(run["seconds"] for run in theirs),
        "peer_name": PEER,
        "unit": "s",
        "ratio": ratio,
        "spread": [ratios[0], ratios[-1]],
        "aim": SPEED_AIM,
        "goal": SPEED_GOAL,
        "holds": ratio >= SPEED_AIM,
    }


def _accuracy(ours: list[dict], theirs: list[dict]) -> dict:
    own, other = (statistics.fmean(run["accuracy"] for run in runs) for runs in (ours, theirs))
    ratios = sorted(a["accuracy"] / b["accuracy"] for a, b in zip(ours, theirs, strict=True))
    return {
        "name": "keras_p6 test accuracy",
        "ours": own,
        "peer": other,
        "peer_name": PEER,
        "unit": "mean over seeds",
        "ratio": own / other,
        "spread": [ratios[0], ratios[-1]],
        "aim": 1.0,
        "holds": own >= other,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, two epochs")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", type=Path, help="folder with the four MNIST IDX files (.gz)")
    parser.add_argument("--epochs", type=int, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--worker", choices=["ours", "keras"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    base = Path(os.environ.get("LODE_DATA", ROOT.parent / "shared" / "data"))
    data = args.data or base / "vision-classification" / "mnist"
    if not (data / "train-images-idx3-ubyte.gz").exists():
        print(f"no MNIST files in {data}: give their folder with --data, or set LODE_DATA", file=sys.stderr)
        return 2
    epochs = args.epochs or (2 if args.quick else 5)
    if args.worker:
        print(json.dumps({"ours": train_ours, "keras": train_keras}[args.worker](data, args.seed, epochs)))
        return 0
    claims = compare(data, 1 if args.quick else args.seeds, epochs)
    for claim in claims:
        low, high = claim["spread"]
        verdict = "holds" if claim["holds"] else "DOES NOT HOLD"
        print(f"{claim['name']}: {claim['ratio']:.3f}x [{low:.3f}, {high:.3f}], aim {claim['aim']}: {verdict}")
    print(json.dumps(claims))
    return 0 if all(claim["holds"] for claim in claims) else 1


if __name__ == "__main__":
    raise SystemExit(main())
