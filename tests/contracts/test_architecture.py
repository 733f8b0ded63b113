"""Every architecture keeps the contract, and gives the logits of transformers in both directions, variants of positions included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.language.decoder import Decoder
from lode.testing.architecture import SMALL, check_architecture, check_parity, num_parameters

WORDS = REGISTRIES["architecture"].names()
GROUPED: dict[str, dict[str, Any]] = {word: {} if word == "gpt2" else {"groups": 2} for word in WORDS}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
}  # fmt: skip
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *GROUPED.items(),
    ("gpt2", {"bias": False, "tied": False, "hidden": None}),
    ("llama", {"groups": 1, "tied": False, "bias": True, "bias_mlp": True, "head_width": 16}),
    ("llama", {"window": 7, "groups": 2}),
    ("llama", {"rotary_scaling": {"rope_type": "linear", "factor": 3.0}}),
    ("llama", {"rotary_scaling": {"rope_type": "dynamic", "factor": 2.0}, "context": 16}),
    ("llama", {"rotary_scaling": YARN, "rotary_base": 500.0}),
    ("llama", {"rotary_scaling": {**YARN, "mscale": 0.7, "mscale_all_dim": 0.3, "truncate": False}}),
    ("llama", {"rotary_scaling": LLAMA3, "rotary_base": 5000.0}),
    ("qwen2", {"window": 7, "global_layers": 1, "tied": False}),
    ("qwen3", {"window": 7, "global_layers": 2, "head_width": 12}),
    ("gemma2", {"window": 7, "groups": 2, "attention_width": 13.0}),
    ("gemma3", {"window": 7, "pattern": 2, "rotary_scaling": {"rope_type": "linear", "factor": 8.0}}),
    ("mixtral", {"window": 7, "experts": 3, "used": 1}),
]


@pytest.fixture(scope="module")
def reference() -> Callable[[Path], Any]:
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    found: Callable[[Path], Any] = transformers.AutoModelForCausalLM.from_pretrained
    return found


@pytest.mark.parametrize("word", WORDS)
def test_every_architecture_keeps_the_contract(word: str, tmp_path: Path) -> None:
    check_architecture(word, tmp_path, GROUPED[word])


@pytest.mark.parametrize(("word", "options"), VARIANTS, ids=lambda value: value if isinstance(value, str) else ",".join(value))
def test_logits_equal_those_of_transformers(
    word: str, options: dict[str, Any], tmp_path: Path, reference: Callable[[Path], Any]
) -> None:
    check_parity(word, tmp_path, reference, options)


@pytest.mark.parametrize("word", WORDS)
def test_the_defaults_make_a_decoder_and_its_parameters_are_known_beforehand(word: str) -> None:
    architecture = REGISTRIES["architecture"].create(Component(word), 1000)
    with torch.device("meta"):
        decoder = Decoder(architecture.shape)
    assert sum(weight.numel() for weight in decoder.parameters()) == num_parameters(architecture.shape)
    assert (
        architecture.shape.context == 256 and architecture.shape.hidden % 64 == 0 and SMALL["layers"] != architecture.shape.layers
    )
