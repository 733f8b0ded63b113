"""Every feature of the registry keeps the contract. A new file needs one entry in SAMPLES."""

from __future__ import annotations

import importlib.util
import io
from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.testing.feature import CHECKS, Samples

REGISTRY = REGISTRIES["feature"]


def _picture(seed: int, suffix: str = "png") -> bytes:
    if suffix == "npy":
        buffer = io.BytesIO()
        np.save(buffer, np.random.default_rng(seed).integers(0, 256, (12, 10), dtype=np.uint8))
        return buffer.getvalue()
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, suffix)
    return buffer.getvalue()


_NUMBERS = Samples(
    good=pl.Series("x", ["1", " 2.5 ", "-3e2", None, "1e30", "0", ".5"]),
    later=pl.Series("x", [7.0, 1e300, -1e300, None]),
    bad=pl.Series("x", ["one", "nan", "inf", "1,5", "1e999", "", "0x1"]),
)
_LETTERS = Samples(
    good=pl.Series("x", ["b", "a", "b", " b ", None, "1.0", "1"]),
    later=pl.Series("x", ["a", "new", None, "b"]),
    num_unseen=1,
    bad=pl.Series("x", [[1], [2]]),
)
_TEXTS = Samples(
    good=pl.Series("x", ["A good film, isn't it?", "bad film", None, "good \u0130stanbul \u201cfilm\u201d", "bad"]),
    later=pl.Series("x", ["an unheard-of film", "x", None]),
    bad=pl.Series("x", ["", "  "]),
)
_HOTEL = ["\u9152\u5e97\u5f88\u597d\uff0c\u623f\u95f4 iPhone \u5e72\u51c0", "\u4e0d\u597d", None, "\u597d"]
_HOTELS = Samples(good=pl.Series("x", _HOTEL), later=pl.Series("x", ["\u9152\u74f6", None]))
_DATES = Samples(
    good=pl.Series("x", ["2024-01-31", "2024-02-29T12:30:00Z", None, "1 Mar 2024", "31.12.1999"]),
    later=pl.Series("x", [datetime(2030, 5, 17, 3), None, datetime(1066, 10, 14)]),
    bad=pl.Series("x", ["2024-02-30", "soon", "20240131", "31/01/2024", ""]),
)
_PICTURES = Samples(
    good=pl.Series("x", [_picture(0), _picture(1, "jpeg"), None, _picture(2, "npy")]),
    later=pl.Series("x", [_picture(3, "gif"), _picture(4, "bmp"), _picture(5, "webp")]),
    bad=pl.Series("x", [b"", b"GIF89a", _picture(6)[:60], _picture(7, "npy")[:-1], b"not a picture"]),
)


def _sound(seed: int, container: str = "wav", rate: int = 8000, channels: int = 1, loud: float = 0.3) -> bytes:
    soundfile = pytest.importorskip("soundfile")
    samples = np.random.default_rng(seed).normal(0.0, loud, (900 + 50 * seed, channels))
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -1, 1), rate, format=container)
    return buffer.getvalue()


def _sounds() -> Samples:
    return Samples(
        good=pl.Series("x", [_sound(0), _sound(1, "flac"), None, _sound(2, "ogg", 11025, 2)]),
        later=pl.Series("x", [_sound(3, "flac", 48000), _sound(4)]),
        bad=pl.Series("x", [b"", b"RIFF", _sound(5, "flac")[:700], _picture(6), _sound(7, loud=0.0)]),
    )


_SERIES = Samples(
    good=pl.Series("x", ["1 2.5 3", "[4, nan, 6, 7]", None, "-1e30;2", "5"]),
    later=pl.Series("x", [[1.0, None, 2.0, 3.0, 1e300, 5.0], None, [float("nan"), 1.0]]),
    bad=pl.Series("x", ["", "1 two 3", "nan", "1 inf", "[]", "1e999"]),
)
_STEPS = Samples(
    good=pl.Series("x", [[[1, 2], [3, 4], [5, 6]], [[0, 1]], None]),
    later=pl.Series("x", [[1.0, 2.0, None, 4.0]]),
    bad=pl.Series("x", [[[1, 2, 3]], [[1], [2]], []]),
)
_VECTORS = Samples(
    good=pl.Series("x", ["1, 2, 3", "[4, null, 6]", None, "0 0 0"]),
    later=pl.Series("x", [[1.0, float("nan"), 2e300], None]),
    bad=pl.Series("x", ["1 2", "1 2 3 4", "", "a b c", "nan nan nan"]),
)
_BASKETS = Samples(
    good=pl.Series("x", ["milk, whole bread", '["bread", "milk", 1]', None, "milk", "[]"]),
    later=pl.Series("x", [["milk", "caviar"], ["milk", None, "milk"], None]),
    num_unseen=1,
    bad=pl.Series("x", ['[["milk"]]', '[{"a": 1}]', ""]),
)
_BOXES = replace(_STEPS, later=pl.Series("x", [[1.0, 2.0, None, 4.0], [1.0, 1.0, 1.0, 1.0]]))

_SCALES = ("robust", "standard", "minmax", "quantile", "power", "log", "none")

SAMPLES: dict[str, list[tuple[dict[str, object], Samples]]] = {
    "number": [
        *(({"scale": scale}, _NUMBERS) for scale in _SCALES),
        *(({"scale": scale, "bins": 4}, _NUMBERS) for scale in _SCALES),
    ],
    "category": [
        ({}, _LETTERS),
        ({"min_count": 1, "max_values": 3}, _LETTERS),
        ({"rare": "group"}, _LETTERS),
        ({"encode": "hash", "buckets": 7}, replace(_LETTERS, num_unseen=0)),
        ({"encode": "target"}, _LETTERS),
        ({"encode": "target", "smooth": 0.0}, _LETTERS),
        ({"encode": "frequency"}, _LETTERS),
    ],
    "binary": [
        (
            {},
            Samples(
                good=pl.Series("x", ["no", "yes", None, "no"]),
                later=pl.Series("x", ["yes", "maybe", None]),
                num_unseen=1,
                bad=pl.Series("x", [[1], [2]]),
            ),
        )
    ],
    "date": [
        ({}, _DATES),
        ({"cycles": ["hour", "month"], "parts": ["year", "week"], "reference": "2024-06-30"}, _DATES),
        ({"cycles": ["weekday", "day"], "parts": []}, _DATES),
        ({"cycles": [], "parts": ["days", "quarter", "month", "day", "weekday", "weekend", "yearday", "hour", "minute"]}, _DATES),
    ],
    "text": [
        ({}, _TEXTS),
        ({"length": 2}, _TEXTS),
        ({"tokens": "character", "vocabulary": 16, "terms": 16}, _TEXTS),
        ({"letters": 5, "terms": 16}, _TEXTS),
        ({}, _HOTELS),
        ({"letters": 2}, _HOTELS),
        ({"tokens": "byte"}, _TEXTS),
        ({"tokens": "byte", "length": 5, "terms": 16}, _HOTELS),
        ({"tokens": "bpe", "vocabulary": 300}, _TEXTS),
        ({"tokens": "bpe", "length": 3}, _HOTELS),
    ],
    "image": [
        ({}, _PICTURES),
        ({"height": 20, "mode": "gray"}, _PICTURES),
        ({"height": 5, "width": 40, "mode": "rgb"}, _PICTURES),
    ],
    "audio": [({}, _sounds()), ({"rate": 4000, "seconds": 0.05}, _sounds())] if importlib.util.find_spec("soundfile") else [],
    "series": [
        *(({"scale": scale}, _SERIES) for scale in ("standard", "row", "none")),
        ({"length": 2}, _SERIES),
        ({"channels": 2}, _STEPS),
    ],
    "vector": [({}, _VECTORS), ({"scale": "none"}, _VECTORS), ({"size": 3}, _VECTORS)],
    "set": [
        ({}, _BASKETS),
        ({"max_values": 1, "length": 1}, replace(_BASKETS, num_unseen=0)),
        ({"of": "numbers", "width": 2}, _BOXES),
    ],
}
CASES = [(word, options, samples) for word, cases in SAMPLES.items() for options, samples in cases]


def test_every_feature_has_samples() -> None:
    assert set(REGISTRY.names()) == set(SAMPLES), "add an entry to SAMPLES for every file in lode/data/features"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("word", "options", "samples"), CASES, ids=[f"{word}-{options}" for word, options, _ in CASES])
def test_feature_keeps_the_contract(check, word, options, samples) -> None:
    if options.get("tokens") == "bpe" and importlib.util.find_spec("tokenizers") is None:
        pytest.skip("the package tokenizers is not installed (lodeml[bpe])")
    check(lambda: REGISTRY.create(Component(word, options)), samples)
