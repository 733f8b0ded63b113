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
        ({}, _HOTELS),
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
