"""Near-duplicate texts: lode's MinHash path against datasketch, at equal recall.

    python benchmarks/near_dup.py [--quick]

The texts are real: the Reuters articles of text-classification/en_reuters_R8.csv.gz (under LODE_DATA) cut into pieces of 12 words, three
random pieces a text; 60 % are such texts, 40 % copies of them with seeded edits (words changed, dropped, doubled or misspelt: 0 to 15 %
of them). 200,000 in all (20,000 with --quick). The truth is known: a planted pair counts where its exact Jaccard similarity is at least
0.8. Recall: share of the counting planted pairs that are found; precision: share of the found pairs whose exact similarity, computed here
with Python sets, is at least 0.8.

Both sides get the same lines, normalise them alike (NFKC, case, white space), and use shingles of 5 characters, 128 hashes and threshold
0.8. Ours: `near_pairs`. Peer, twice: `MinHash.bulk` and `MinHashLSH`, (a) with our bands (21 of 6 hashes) and each candidate compared
exactly, which gives our recall and precision; (b) with the bands that datasketch chooses, candidates taken as they are, as its
documentation shows. Time is that of the whole process, imports included; memory is the highest RssAnon. Runs alternate. The peer lives in
an environment of its own under ~/.cache/lode-bench.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PEER_HOME = Path.home() / ".cache" / "lode-bench" / "near-dup"
PEER_PACKAGES = ("datasketch==2.*",)
THRESHOLD, SIZE, NUM_HASHES, BANDS = 0.8, 5, 128, (21, 6)
AIM = 5.0
EDIT_SHARES = (0.0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.15)

OURS = r"""
import sys
import polars as pl
from pathlib import Path
from lode.data.alike.near_text import near_pairs

texts = pl.Series(Path(sys.argv[1]).read_text().split("\n"))
near_pairs(texts, 0.8, num_hashes=128, size=5).select("left", "right").cast(pl.Int64).to_numpy().tofile(sys.argv[2])
"""

PEER = r"""
import sys
import unicodedata
from array import array
from pathlib import Path
from datasketch import MinHash, MinHashLSH

is_equal = sys.argv[3] == "equal"
texts = [" ".join(unicodedata.normalize("NFKC", line).casefold().split()) for line in Path(sys.argv[1]).read_text().split("\n")]
sets = [{text[i : i + 5] for i in range(max(1, len(text) - 4))} for text in texts]
sketches = MinHash.bulk(([shingle.encode() for shingle in own] for own in sets), num_perm=128)
lsh = MinHashLSH(threshold=0.8, num_perm=128, params=(21, 6) if is_equal else None)
pairs = array("q")
for row, sketch in enumerate(sketches):
    for other in lsh.query(sketch):
        if is_equal:
            shared = len(sets[other] & sets[row])
            if shared < 0.8 * (len(sets[other]) + len(sets[row]) - shared):
                continue
        pairs.extend((other, row))
    lsh.insert(row, sketch)
Path(sys.argv[2]).write_bytes(pairs.tobytes())
"""


class Figures(NamedTuple):
    """Of one process and what it found."""

    seconds: float
    memory_mib: float
    num_pairs: int
    recall: float
    precision: float


def pieces() -> list[list[str]]:
    """Runs of 12 words of real articles."""
    source = Path(os.environ.get("LODE_DATA", ROOT.parent / "shared" / "data")) / "text-classification" / "en_reuters_R8.csv.gz"
    if not source.is_file():
        sys.exit(f"{source}: not there. Set LODE_DATA to a folder with text-classification/en_reuters_R8.csv.gz (Reuters R8).")
    with gzip.open(source, "rt", newline="") as file:
        texts = [max(row, key=len).split() for row in csv.reader(file)][1:]
    return [words[start : start + 12] for words in texts for start in range(0, len(words) - 11, 12)]


def edited(words: list[str], share: float, rng: random.Random) -> list[str]:
    """A copy with about this share of its words changed, dropped, doubled or misspelt."""
    copy = []
    for word in words:
        if rng.random() >= share:
            copy.append(word)
            continue
        kind = rng.randrange(4)
        if kind == 0:
            copy.append(rng.choice(words))
        elif kind == 1:
            copy += [word, word]
        elif kind == 2:
            place = rng.randrange(len(word))
            copy.append(word[:place] + rng.choice("abcdefghijklmnopqrstuvwxyz") + word[place + 1 :])
    return copy


def make(path: Path, num_texts: int) -> tuple[list[str], list[tuple[int, int]]]:
    """The texts, in random order, one a line; and the planted pairs (positions, smaller one first)."""
    rng, found = random.Random(7), pieces()
    originals = [[word for piece in rng.choices(found, k=3) for word in piece] for _ in range(num_texts * 6 // 10)]
    sources = [rng.randrange(len(originals)) for _ in range(num_texts - len(originals))]
    texts = [" ".join(words) for words in originals]
    texts += [" ".join(edited(originals[source], rng.choice(EDIT_SHARES), rng)) for source in sources]
    order = list(range(num_texts))
    rng.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    planted = [(place[source], place[len(originals) + copy]) for copy, source in enumerate(sources)]
    lines = [texts[old] for old in order]
    path.write_text("\n".join(lines))
    return lines, [(min(pair), max(pair)) for pair in planted]


def similar(lines: list[str], pairs: Iterable[tuple[int, int]]) -> list[bool]:
    """Whether each pair's exact Jaccard similarity reaches the threshold."""

    def own(row: int) -> set[str]:
        text = " ".join(unicodedata.normalize("NFKC", lines[row]).casefold().split())
        return {text[start : start + SIZE] for start in range(max(1, len(text) - SIZE + 1))}

    return [len(a & b) >= THRESHOLD * len(a | b) for a, b in ((own(left), own(right)) for left, right in pairs)]


def peer_python() -> Path:
    """The peer's interpreter; made once."""
    python = PEER_HOME / "bin" / "python"
    if not python.is_file():
        print(f"making {PEER_HOME}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(PEER_HOME)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PEER_PACKAGES], check=True)
    return python


def measured(command: list[str], bytecode: Path) -> tuple[float, float]:
    """Seconds and highest anonymous memory in MiB of a process."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(bytecode)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    start, peak = time.perf_counter(), 0
    with subprocess.Popen(command, env=env) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            try:
                found = re.search(r"RssAnon:\s+(\d+)", status.read_text())
            except OSError:
                found = None
            peak = max(peak, int(found.group(1)) if found else 0)
            time.sleep(0.01)
        if process.returncode:
            sys.exit(f"{command[0]}: exit code {process.returncode}")
    return time.perf_counter() - start, peak / 1024


def judged(path: Path, lines: list[str], truth: set[tuple[int, int]]) -> tuple[int, float, float]:
    """Pairs, recall and precision of what a process wrote. A text equal to the first of its kind is joined through it."""
    flat = array("q", path.read_bytes())
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    right = similar(lines, pairs)
    have = {(min(pair), max(pair)) for pair in pairs}
    first: dict[str, int] = {}
    for row, line in enumerate(lines):
        first.setdefault(" ".join(line.casefold().split()), row)
    same = [first[" ".join(line.casefold().split())] for line in lines]
    hits = 0
    for left, other in truth:
        a, b = same[left], same[other]
        hits += (left, other) in have or a == b or (min(a, b), max(a, b)) in have
    return len(pairs), hits / len(truth), sum(right) / max(len(right), 1)


def runs(folder: Path, lines: list[str], truth: set[tuple[int, int]], repeats: int) -> dict[str, list[Figures]]:
    """Alternating runs of the three; the first of ours (no bytecode, cold files) left out."""
    texts, out, peer = str(folder / "texts.txt"), folder / "pairs.bin", str(peer_python())
    sides = {
        "ours": [sys.executable, "-c", OURS, texts, str(out)],
        "equal": [peer, "-c", PEER, texts, str(out), "equal"],
        "default": [peer, "-c", PEER, texts, str(out), "default"],
    }
    measured(sides["ours"], folder / "bytecode")
    found: dict[str, list[Figures]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, command in sides.items():
            seconds, memory = measured(command, folder / "bytecode")
            found[side].append(Figures(seconds, memory, *judged(out, lines, truth)))
    return found


def record(name: str, unit: str, ours: list[float], peer: list[float], peer_name: str, aim: float | None) -> dict[str, object]:
    """Medians and the ratio of each pair of runs. aim: None for what is only reported."""
    ratios = sorted(theirs / own for own, theirs in zip(ours, peer, strict=True))
    ratio = statistics.median(peer) / statistics.median(ours)
    return {
        "name": f"near_dup {name}",
        "ours": round(statistics.median(ours), 4),
        "peer": round(statistics.median(peer), 4),
        "peer_name": peer_name,
        "unit": unit,
        "ratio": round(ratio, 3),
        "spread": [round(ratios[0], 3), round(ratios[-1], 3)],
        "aim": aim,
        "holds": aim is None or ratio >= aim,
    }


def quality(name: str, ours: float, peer: float, peer_name: str) -> dict[str, object]:
    """Recall or precision: higher is better, so the ratio is ours over theirs; the aim is not to be below (0.1 % for chance)."""
    ratio = ours / peer
    line = record(name, "share", [peer], [ours], peer_name, 0.999)
    return {**line, "ours": round(ours, 4), "peer": round(peer, 4), "ratio": round(ratio, 3)}


def main() -> int:
    """Measure, print a table and one line of JSON; 1 where an aim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20,000 texts")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines, planted = make(folder / "texts.txt", 20_000 if quick else 200_000)
        truth = {pair for pair, counts in zip(planted, similar(lines, planted), strict=True) if counts}
        print(f"{len(lines):,} texts, {len(planted):,} planted pairs, {len(truth):,} of them at least {THRESHOLD} similar")
        found = runs(folder, lines, truth, repeats=3)
    records = []
    for side, peer_name in (("equal", "datasketch, equal bands, verified"), ("default", "datasketch, its bands")):
        for key, unit, aim in (("seconds", "s", AIM), ("memory_mib", "MiB", None)):
            ours, peer = ([getattr(run, key) for run in found[one]] for one in ("ours", side))
            records.append(record(key, unit, ours, peer, peer_name, aim))
        records += [
            quality(key, getattr(found["ours"][0], key), getattr(found[side][0], key), peer_name) for key in ("recall", "precision")
        ]
    print(f"{'':24}{'':36}{'ours':>10}{'peer':>10}{'ratio':>8}  spread            aim")
    for line in records:
        low, high = line["spread"]
        figures = f"{line['ours']:>10}{line['peer']:>10}{line['ratio']:>8}  {low} to {high:<12} {line['aim'] or ''}"
        print(f"{line['name']:24}{line['peer_name']:36}{figures}")
    print(json.dumps(records))
    return 0 if all(line["holds"] for line in records) else 1


if __name__ == "__main__":
    sys.exit(main())
