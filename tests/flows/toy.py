"""A language model of random weights, small enough to be made in each test: what the service needs of one, on the real engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lode.app.language.contracts import Device, Weights
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.corpus import tokenizers
from lode.data.place import Place
from lode.model.language.decoder import Decoder
from lode.model.language.engine.engine import Engine

ALPHABET = "".join(map(chr, range(32, 127))) + "\n\u00e9\u6771"
WIDTH, LAYERS, PAGE = 32, 2, 16
SIZES = {"layers": LAYERS, "heads": 2, "groups": 1, "width": WIDTH, "hidden": 64, "tied": False}


class Toy:
    """`lode.app.language.contracts.Speaks`: characters in, gibberish out, always the same."""

    name, version, hash = "toy", 1, "0" * 64
    card: Mapping[str, Any] = {}

    def __init__(self, context: int = 512, spread: float = 2.0):
        self.tokenizer = tokenizers.make(Component("characters"), Place(Path()))
        self.tokenizer.fit([ALPHABET])
        self.context = context
        self.architecture = REGISTRIES["architecture"].create(Component("llama", SIZES | {"context": context}), self.tokenizer.size)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.decoder = Decoder(self.architecture.shape)
            with torch.no_grad():
                # As drawn, every token is as likely as any other; so is which one is likeliest after rounding.
                self.decoder.head.mul_(spread / self.decoder.head.std())
        self.made: list[Engine] = []

    def engine(
        self,
        *,
        memory_bytes: int,
        max_sequences: int,
        max_waiting: int,
        device: Device,
        weights: Weights,
        adapters: Mapping[str, Path],
        max_rise: float,
    ) -> Engine:
        made = Engine(
            self.decoder,
            self.tokenizer,
            memory_bytes=memory_bytes,
            page_tokens=PAGE,
            max_sequences=max_sequences,
            max_waiting=max_waiting,
            architecture=self.architecture,
        )
        for name, folder in adapters.items():
            made.attach(name, folder)
        self.made.append(made)
        return made


def write_adapter(folder: Path, seed: int) -> Path:
    """A LoRA adapter for the toy, as PEFT saves it, with weights that change what is said."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    rank, prefix = 4, "base_model.model.model.layers.0.self_attn.o_proj"
    weights = {
        f"{prefix}.lora_A.weight": torch.randn(rank, WIDTH, generator=generator),
        f"{prefix}.lora_B.weight": torch.randn(WIDTH, rank, generator=generator),
    }
    save_file(weights, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": 8,
        "target_modules": ["o_proj"],
        "bias": "none",
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config | {"layers_to_transform": [0]}))
    return folder
