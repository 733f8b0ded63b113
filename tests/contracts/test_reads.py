"""What encoders, augmentations and pretraining say that they can take (`reads`, for `lode check`) is what they do take (`accepts`)."""

from __future__ import annotations

import functools
import io
import wave
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lode.core.fits import misfits
from lode.core.registry import REGISTRIES
from lode.core.types import Component, TensorSpec

KINDS = ("encoder", "augment", "pretrain")
WORDS = [(kind, word) for kind in KINDS for word in REGISTRIES[kind].names()]
COMPONENTS = [
    *(Component(word) for word in ("number", "binary", "category", "date", "text", "image", "audio", "series", "vector", "set")),
    *(Component("category", {"encode": how}) for how in ("hash", "frequency", "target")),
    Component("set", {"of": "numbers", "width": 1}),
]


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(buffer, "PNG")
    return buffer.getvalue()


def _recording() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(8000)
        file.writeframes(np.random.default_rng(0).integers(-9000, 9000, 4000, dtype=np.int16).tobytes())
    return buffer.getvalue()


def _cells(component: Component) -> list[Any]:
    if component.options.get("of") == "numbers":
        return [[[1.0], [2.0]], [[3.0]]] * 10
    found: dict[str, list[Any]] = {
        "number": [1.0, 2.5] * 10, "binary": ["yes", "no"] * 10, "category": ["a", "b", "c", "d"] * 5,
        "date": ["2024-01-01", "2024-02-03"] * 10, "text": ["a b c", "d e"] * 10, "image": [_picture()] * 20,
        "audio": [_recording()] * 20, "series": [[1.0, 2.0], [3.0, 4.0, 5.0]] * 10, "vector": [[1.0, 2.0], [3.0, 4.5]] * 10,
        "set": [["a", "b"], ["c"]] * 10,
    }  # fmt: skip
    return found[component.type]


@functools.cache
def _specs() -> tuple[tuple[str, TensorSpec], ...]:
    """What every feature makes of ordinary cells."""
    made = []
    for component in COMPONENTS:
        if component.type == "audio":
            pytest.importorskip("soundfile", reason="the package soundfile is not installed (lodeml[audio])")
        feature = REGISTRIES["feature"].create(component)
        column = feature.parse(pl.Series("x", _cells(component)))
        feature.fit_transform(column, np.arange(20) % 2 * 1.0, np.arange(20) % 5)
        made.append((component.type, feature.spec))
    return tuple(made)


@pytest.mark.parametrize(("kind", "word"), WORDS)
def test_a_word_reads_what_it_accepts(kind: str, word: str) -> None:
    cls: Any = REGISTRIES[kind].get(word)
    accepted = {feature for feature, spec in _specs() if cls.accepts(spec)}
    assert accepted == set(REGISTRIES[kind].constant(word, "reads")), f"{kind} {word}: `reads` must name what it accepts"


@pytest.mark.parametrize(("kind", "word"), [(kind, word) for kind in REGISTRIES for word in REGISTRIES[kind].names()])
def test_defaults_fit_one_another(kind: str, word: str) -> None:
    signature = REGISTRIES[kind].signature(word)
    defaults = {name: option.default for name, option in signature.options.items()}
    wrong = [name for name, _, _ in misfits(defaults, signature.constants.get("fits", ()))]
    assert wrong == (["path"] if word == "pretrained" and kind == "encoder" else [])
