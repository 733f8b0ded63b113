"""Four programs of the tutorials, trained by lode and by Keras on TensorFlow: time of training and accuracy; and what our loop costs.

    python benchmarks/keras.py [--quick] [--programs p1,p3,p6,p7,loop] [--turns 3]

P1 cats or dogs (7 passes over 1,400 pictures of 150 px, as three epochs of 100 steps), P3 CIFAR-10 with one convolution (10 epochs),
P6 MNIST with one layer (5 epochs), P7 ten classes at 150 px (CIFAR-10 enlarged, 2,000 pictures, 2 epochs: for the time only).
Same network, rows, batch of 32, Adam at 0.001 in both; the processes take turns. Timed is the whole training call, from first weights to a
trained model with validation after each epoch; imports and reading are not. Keras gets the pictures decoded, in memory, through
tf.data with prefetch, and its own augmentation layers. `loop`: hand-written torch loops of the same step (with torch.optim, and with
its kernel alone) beside ours, in turns of at most 64 steps within one process; medians of processor seconds, with quartiles.
Keras lives in an environment of its own, made at the first run under ~/.cache/lode-bench. Last line: a JSON list. Exit 1: an aim is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = Path.home() / ".cache" / "lode-bench" / "keras"
PEER = "keras 3 on tensorflow-cpu 2.21"
PACKAGES = ["tensorflow-cpu==2.21.*", "keras==3.*"]
AUGMENT = [{"type": "shear", "degrees": 0.2}, {"type": "zoom", "amount": 0.2}, {"type": "flip"}]
# encoder and task of lode; rows that fit (of the training rows), epochs, parameters of the network; aim and goal of the ratio
PROGRAMS = {
    "p1": {"encoder": {"type": "cnn", "channels": [32, 64, 128], "padding": "valid", "norm": "none", "dense": 512, "dropout": 0.5},
           "task": {"type": "binary", "positive": "1"}, "augment": AUGMENT, "epochs": 7, "parameters": 19_034_177, "aim": 2.0, "goal": 3.0},
    "p3": {"encoder": {"type": "cnn", "channels": [32], "padding": "valid", "norm": "none", "dense": 64},
           "task": {"type": "multiclass"}, "epochs": 10, "parameters": 462_410, "aim": 2.0, "goal": 3.0},
    "p6": {"encoder": {"type": "mlp", "width": 128, "depth": 1}, "task": {"type": "multiclass"}, "epochs": 5,
           "parameters": 101_770, "aim": 3.0, "goal": 5.0},
    "p7": {"encoder": {"type": "cnn", "channels": [32, 64, 128, 128], "padding": "valid", "norm": "none", "dense": [512, 256, 128]},
           "task": {"type": "multiclass"}, "epochs": 2, "parameters": 3_618_122, "aim": 2.0, "goal": 3.0},
}  # fmt: skip
LOOP_AIM = 0.97
LOOP_STEPS = {"p6": 1500, "p3": 600, "p1": 44, "p7": 60}
"""Steps of each loop in one process; half a second, or 64 steps, make a turn."""


def prepare(program: str, data: Path) -> Path:
    """The program's rows as arrays in a file that both sides read: x, y to fit, to validate, to test. Pictures are uint8 (N, H, W, C)."""
    import numpy as np

    path = HOME / f"{program}.npz"
    if path.exists():
        return path
    if program == "p6":
        x, y, x_test, y_test = read_mnist(data / "vision-classification" / "mnist")
    elif program == "p1":
        x, y, x_test, y_test = read_pictures([data / "vision-classification" / "cats_dogs_120px.tar.xz"], 150)
    else:
        folder = data / "vision-classification" / "cifar10"
        names = ["cifar10_train_20k.tar.xz", "cifar10_train_rest30k.tar.xz", "cifar10_test_10k.tar.xz"]
        size, files = (32, names) if program == "p3" else (150, [names[0], names[2]])
        x, y, x_test, y_test = read_pictures([folder / name for name in files], size, None if program == "p3" else (2_500, 500))
    order = np.random.default_rng(0).permutation(len(x))
    held = {"p1": len(x_test) // 2, "p3": len(x) // 5, "p6": len(x) // 10, "p7": len(x) // 5}[program]
    stop, fit = order[:held], order[held:]
    if program == "p1":  # all 1,400 training pictures fit; half of the test pictures validate, as the program has it
        half = np.random.default_rng(1).permutation(len(x_test))
        (x_stop, y_stop), fit = (x_test[half[::2]], y_test[half[::2]]), order
        x_test, y_test = x_test[half[1::2]], y_test[half[1::2]]
    else:
        x_stop, y_stop = x[stop], y[stop]
    HOME.mkdir(parents=True, exist_ok=True)
    np.savez(path, x=x[fit], y=y[fit], x_stop=x_stop, y_stop=y_stop, x_test=x_test, y_test=y_test)
    return path


def read_mnist(folder: Path):
    """Pictures (N, 28, 28, 1) and digits int64 (N,) of both splits, from the IDX files."""
    import gzip

    import numpy as np

    found = []
    for stem in ("train", "t10k"):
        pixels = gzip.decompress((folder / f"{stem}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((folder / f"{stem}-labels-idx1-ubyte.gz").read_bytes())
        found.append(np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28, 1).copy())
        found.append(np.frombuffer(labels, np.uint8, offset=8).astype(np.int64))
    return found


def read_pictures(paths: list[Path], size: int, most: tuple[int, int] | None = None):
    """Pictures of class folders in archives, resized; whatever lies under a folder named test... is the test split.

    most: at most so many training and test pictures, in turns by class.
    """
    import io
    import tarfile

    import numpy as np
    from PIL import Image

    found: dict[bool, list] = {False: [], True: []}
    for path in paths:
        with tarfile.open(path) as archive:
            # In the order of the archive: going back in a compressed one means reading it again
            pictures = [(m.name, archive.extractfile(m).read()) for m in archive if m.isfile() and m.name.lower().endswith(".jpg")]
        for name, raw in sorted(pictures, key=lambda pair: (Path(pair[0]).stem.lstrip("catdog."), pair[0])):
            split, label = Path(name).parts[-3:-1]
            is_test = split.startswith("test")
            if most is None or len(found[is_test]) < most[is_test]:
                found[is_test].append((label, raw))
    names = sorted({label for rows in found.values() for label, _ in rows})
    arrays = []
    for rows in found.values():
        opened = (Image.open(io.BytesIO(raw)).convert("RGB").resize((size, size), Image.BILINEAR) for _, raw in rows)
        arrays.append(np.stack([np.asarray(picture) for picture in opened]))
        arrays.append(np.array([names.index(label) for label, _ in rows], np.int64))
    return arrays


def read(program: str) -> dict:
    """Arrays that `prepare` wrote."""
    import numpy as np

    with np.load(HOME / f"{program}.npz") as file:
        return {name: file[name] for name in file.files}


def build_ours(program: str, data: dict, scale: tuple[float, ...]):
    """The family `network` as the recipe's lode.yaml gives it, with its examples."""
    import numpy as np

    from lode.core.registry import REGISTRIES
    from lode.core.types import Component, FlatSpec, TensorSpec
    from lode.model.contracts import Examples, Shapes

    facts = PROGRAMS[program]
    task = REGISTRIES["task"].create(Component.from_json(facts["task"]))
    words = data["y"].astype(str).astype(object)
    task.fit(words)
    rows = {}
    for part in ("", "_stop", "_test"):
        labels = data[f"y{part}"].astype(str).astype(object)
        rows[part] = Examples(len(labels), {"image": np.ascontiguousarray(data[f"x{part}"])}, None, {"label": task.encode(labels)})
    spec = TensorSpec("uint8", data["x"].shape[1:], scale=scale)
    augments = {"image": tuple(Component.from_json(entry) for entry in facts.get("augment", ()))}
    shapes = Shapes({"image": spec}, FlatSpec((), ()), {"image": Component.from_json(facts["encoder"])}, augments)
    # Keras draws first weights as Glorot does
    return REGISTRIES["family"].get("network")(shapes, {"label": task}, depth=0, init="xavier"), rows


def train_ours(program: str, seed: int, epochs: int) -> dict[str, float]:
    """One training."""
    sys.path.insert(0, str(ROOT))
    from lode.model.contracts import Context
    from lode.model.training import Training

    data = read(program)
    network, rows = build_ours(program, data, (1 / 255,) * data["x"].shape[3])
    options = {"optimizer": "adam", "learning_rate": 1e-3, "schedule": "constant", "warmup": 0.0, "batch": 32, "epochs": epochs}
    start = time.perf_counter()
    fitted = network.fit(rows[""], rows["_stop"], Context(seed=seed, training=Training(**options)))
    seconds = time.perf_counter() - start
    scores = network.predict(rows["_test"])["label"]
    answer = scores.argmax(axis=1) if scores.shape[1] > 1 else scores[:, 0] > 0
    accuracy = float((answer == rows["_test"].targets["label"]).mean())
    return {"seconds": seconds, "accuracy": accuracy, "parameters": network.cost().parameters, "choices": dict(fitted.choices)}


def train_keras(program: str, seed: int, epochs: int) -> dict[str, float]:
    """The same in Keras, as its guides advise: pictures in memory, tf.data with prefetch, augmentation layers on batches."""
    import keras
    import tensorflow as tf

    data = read(program)
    layers, facts = keras.layers, PROGRAMS[program]
    keras.utils.set_random_seed(seed)
    is_binary = facts["task"]["type"] == "binary"
    start = time.perf_counter()
    if program == "p6":
        model = keras.Sequential(
            [keras.Input((784,)), layers.Dense(128, activation="relu"), layers.Dense(10, activation="softmax")]
        )
        x, x_stop, x_test = (data[name].reshape(-1, 784).astype("float32") / 255 for name in ("x", "x_stop", "x_test"))
    else:
        model = keras_cnn(keras, data["x"].shape[1:], facts["encoder"], is_binary)
        x, x_stop, x_test = (data[name] for name in ("x", "x_stop", "x_test"))
    kind = "binary_crossentropy" if is_binary else "sparse_categorical_crossentropy"
    model.compile(optimizer="adam", loss=kind, metrics=["accuracy"])
    if program == "p6":
        model.fit(x, data["y"], batch_size=32, epochs=epochs, validation_data=(x_stop, data["y_stop"]), verbose=0)
    else:
        model.fit(keras_rows(keras, tf, x, data["y"], facts.get("augment")), epochs=epochs, verbose=0,
                  validation_data=keras_rows(keras, tf, x_stop, data["y_stop"], None, False))  # fmt: skip
    seconds = time.perf_counter() - start
    test = (x_test, data["y_test"]) if program == "p6" else (x_test.astype("float32") / 255, data["y_test"])
    accuracy = float(model.evaluate(*test, batch_size=100, verbose=0)[1])
    return {"seconds": seconds, "accuracy": accuracy, "parameters": model.count_params()}


def keras_cnn(keras, shape, encoder, is_binary: bool):
    """The network of P1, P3 and P7."""
    layers, dense = keras.layers, encoder["dense"]
    parts = [keras.Input(shape)]
    for channels in encoder["channels"]:
        parts += [layers.Conv2D(channels, 3, activation="relu"), layers.MaxPooling2D(2)]
    parts.append(layers.Flatten())
    for width in dense if isinstance(dense, list) else [dense]:
        parts.append(layers.Dense(width, activation="relu"))
    if encoder.get("dropout"):
        parts.append(layers.Dropout(encoder["dropout"]))
    return keras.Sequential(
        [*parts, layers.Dense(1, activation="sigmoid") if is_binary else layers.Dense(10, activation="softmax")]
    )


def keras_rows(keras, tf, x, y, augment, shuffle: bool = True):
    """Batches of 32: shuffled, scaled, augmented, made ahead of time."""
    layers = keras.layers
    rows = tf.data.Dataset.from_tensor_slices((x, y))
    rows = (rows.shuffle(len(x)) if shuffle else rows).batch(32)
    rows = rows.map(lambda a, b: (tf.cast(a, tf.float32) / 255, b), num_parallel_calls=tf.data.AUTOTUNE)
    if augment:
        shear = layers.RandomShear(0.2 / 57.3, 0.0, fill_mode="nearest")
        zoom, flip = layers.RandomZoom((-0.2, 0.2), (-0.2, 0.2), fill_mode="nearest"), layers.RandomFlip("horizontal")
        rows = rows.map(lambda a, b: (flip(zoom(shear(a))), b), num_parallel_calls=tf.data.AUTOTUNE)
    return rows.prefetch(tf.data.AUTOTUNE)


def compare_loops(program: str, steps: int) -> dict[str, list[list[float]]]:
    """Turns of our loop and of those by hand on a program (`keras_loop.py`). Augmentation is left out: it has an aim of its own."""
    sys.path += [str(ROOT), str(ROOT / "benchmarks")]
    from keras_loop import take_turns

    data = read(program)
    data = {**data, "x": data["x"][: steps * 32], "y": data["y"][: steps * 32]}
    PROGRAMS[program].pop("augment", None)
    network, rows = build_ours(program, data, (1 / 255,) * data["x"].shape[3])
    return take_turns(network, rows[""], data["x"], steps)


def peer_python() -> Path:
    """The interpreter of the environment that has Keras, made at the first call."""
    python, marker = HOME / "bin" / "python", HOME / "lode-ready"
    if not marker.exists():
        print(f"installing {' '.join(PACKAGES)} into {HOME} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(HOME)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        marker.touch()
    return python


def measure(worker: str, program: str, seed: int, epochs: int) -> dict[str, float]:
    """One run in a fresh process. -P: this file's folder must not hide the package keras."""
    python = peer_python() if worker == "keras" else sys.executable
    command = [str(python), "-P", __file__, "--worker", worker, "--programs", program, "--seed", str(seed), "--epochs", str(epochs)]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, check=True, env=quiet, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(program: str, turns: int, quick: bool) -> list[dict]:
    """Turns of one program, a table of them, and what is claimed."""
    facts = PROGRAMS[program]
    epochs = max(1, facts["epochs"] // 4) if quick else facts["epochs"]
    ours, theirs = [], []
    print(f"{program}: {epochs} epochs\n{'seed':>4} {'lode s':>8} {'keras s':>8} {'ratio':>6} {'lode acc':>9} {'keras acc':>9}")
    for seed in range(turns):
        own, other = measure("ours", program, seed, epochs), measure("keras", program, seed, epochs)
        assert own["parameters"] == other["parameters"] == facts["parameters"], (own, other)
        ours.append(own)
        theirs.append(other)
        print(f"{seed:>4} {own['seconds']:>8.2f} {other['seconds']:>8.2f} {other['seconds'] / own['seconds']:>6.2f} "
              f"{own['accuracy']:>9.4f} {other['accuracy']:>9.4f}", flush=True)  # fmt: skip
    print("     " + ", ".join(f"{key} {ours[0]['choices'][key]}" for key in ("precision", "threads", "batch")))
    # P7 is there for its time only, and a quarter of the epochs says nothing of accuracy
    return [_speed(program, ours, theirs), *([] if quick or program == "p7" else [_accuracy(program, ours, theirs)])]


def _speed(program: str, ours: list[dict], theirs: list[dict]) -> dict:
    ratios = sorted(b["seconds"] / a["seconds"] for a, b in zip(ours, theirs, strict=True))
    ratio, facts = statistics.median(ratios), PROGRAMS[program]
    own, other = (statistics.median(run["seconds"] for run in runs) for runs in (ours, theirs))
    return {"name": f"keras {program} training time", "ours": own, "peer": other, "peer_name": PEER, "unit": "s", "ratio": ratio,
            "spread": [ratios[0], ratios[-1]], "aim": facts["aim"], "goal": facts["goal"], "holds": ratio >= facts["aim"]}  # fmt: skip


def _accuracy(program: str, ours: list[dict], theirs: list[dict]) -> dict:
    """Not below, up to two standard errors of the test rows (of one run; the same rows judge both)."""
    own, other = (statistics.fmean(run["accuracy"] for run in runs) for runs in (ours, theirs))
    ratios = sorted(a["accuracy"] / b["accuracy"] for a, b in zip(ours, theirs, strict=True))
    rows = len(read(program)["y_test"])
    error = (2 * own * (1 - own) / rows / len(ours)) ** 0.5
    aim = 1.0 - 2 * error / other
    return {"name": f"keras {program} test accuracy", "ours": own, "peer": other, "peer_name": PEER, "unit": "mean over turns",
            "ratio": own / other, "spread": [ratios[0], ratios[-1]], "aim": round(aim, 4), "holds": own / other >= aim}  # fmt: skip


def compare_all_loops(turns: int, quick: bool) -> list[dict]:
    """Loops by hand against ours, medians of interleaved turns by processor seconds. A ratio above 1: ours is the faster one."""
    claims = []
    for program, steps in LOOP_STEPS.items():
        runs = [measure("loop", program, turn, steps // 4 if quick else steps) for turn in range(turns)]
        for kind, peer in (("by_hand", "torch loop written by hand"), ("lean", "torch loop without torch.optim")):
            pairs = [pair for run in runs for pair in run[kind]]
            (_, clock, _), (low, ratio, high) = (statistics.quantiles((pair[at] for pair in pairs), n=4) for at in (0, 1))
            claims.append({"name": f"{peer} over ours, {program}", "ours": 1.0, "peer": ratio, "peer_name": peer,
                           "unit": f"processor seconds, median of {len(pairs)} turns (spread: quartiles)", "by_the_clock": clock,
                           "ratio": ratio, "spread": [low, high], "aim": LOOP_AIM, "holds": ratio >= LOOP_AIM})  # fmt: skip
    return claims


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one turn, a quarter of the epochs")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--programs", default="p6,p3,p1,p7,loop")
    parser.add_argument("--data", type=Path, help="the folder with vision-classification/ (default: LODE_DATA)")
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--worker", choices=["ours", "keras", "loop"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        if args.worker == "loop":
            done = compare_loops(args.programs, args.epochs)
        else:
            done = {"ours": train_ours, "keras": train_keras}[args.worker](args.programs, args.seed, args.epochs)
        print(json.dumps(done))
        return 0
    data = args.data or Path(os.environ.get("LODE_DATA", ROOT.parent / "shared" / "data"))
    if not (data / "vision-classification").is_dir():
        print(f"no vision-classification in {data}: give the folder with --data, or set LODE_DATA", file=sys.stderr)
        return 2
    turns, claims = 1 if args.quick else args.turns, []
    for program in args.programs.split(","):
        if program == "loop":
            for name in LOOP_STEPS:
                prepare(name, data)
            claims += compare_all_loops(max(turns, 1), args.quick)
        else:
            prepare(program, data)
            claims += compare(program, turns, args.quick)
    for claim in claims:
        low, high = claim["spread"]
        verdict = "holds" if claim["holds"] else "DOES NOT HOLD"
        print(f"{claim['name']}: {claim['ratio']:.3f} [{low:.3f}, {high:.3f}], aim {claim['aim']}: {verdict}")
    print(json.dumps(claims))
    return 0 if all(claim["holds"] for claim in claims) else 1


if __name__ == "__main__":
    raise SystemExit(main())
