"""Adapters in PEFT's format, both ways: adapter_config.json and adapter_model.safetensors (names of `transformers` modules).

A file also says which base it belongs to (safetensors metadata, which `peft` passes over). Where their model has one matrix for several
of our layers (GPT-2's `c_attn`), theirs gets one adapter of the added ranks whose `lora_B` is 0 outside of each layer's own block.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from lode.core.disk import write_whole
from lode.core.errors import ArtifactError, listed
from lode.model.language import adapters, weights
from lode.model.language.contracts import Adapter, Architecture
from lode.model.lora import LoraLinear

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FOLDER = "adapter"
"""Where the adapter of an artifact lies, in its folder `model`."""
_BASE = "base"
"""The one entry of the file's metadata (several would lie in random order): model type and fingerprint of the base."""
_PREFIX = "base_model.model."
_DOWN, _UP, _MAGNITUDE = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"
_ALLOWED: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "lora_bias": (False,),
    "modules_to_save": (None, []),
    "trainable_token_indices": (None, []),
    "layer_replication": (None, []),
    "alora_invocation_tokens": (None, []),
    "use_qalora": (False,),
    # The others (pissa, olora, loftq, ...) change the base's weights too, when peft loads them
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva"),
}
"""What of PEFT's options changes the arithmetic, and the values that lode knows."""


@dataclass(frozen=True, slots=True)
class Delta:
    """What stands beside one layer: s up down, and the lengths of DoRA's rows. factor: s.

    down: (rank, inputs), up: (outputs, rank), magnitude: (outputs,) or None; rank_stabilized: s is alpha / sqrt(rank).
    """

    down: torch.Tensor
    up: torch.Tensor
    magnitude: torch.Tensor | None
    factor: float
    dropout: float = 0.0
    rank_stabilized: bool = False

    @property
    def rank(self) -> int:
        return len(self.down)

    @property
    def alpha(self) -> float:
        return self.factor * (math.sqrt(self.rank) if self.rank_stabilized else self.rank)


@dataclass(frozen=True, slots=True)
class _Share:
    """One of our layers in a module of theirs: rows [start, end) of its outputs."""

    name: str
    start: int
    end: int


def save(decoder: nn.Module, adapter: Adapter, architecture: Architecture, folder: Path, base: str = "") -> None:
    """Write the adapter of a decoder. base: the folder or name that AutoPeftModel is to load it beside; it is not read here."""
    found, modules = adapters.adapted(decoder), _modules(decoder, architecture)
    kept = {module: [share for share in shares if share.name in found] for module, shares in modules.items()}
    tensors: dict[str, torch.Tensor] = {}
    ranks: dict[str, int] = {}
    for module, shares in kept.items():
        if shares:
            made = _to_theirs(found, shares, modules[module], decoder)
            tensors |= {f"{_PREFIX}{module}{end}": tensor.detach().cpu().contiguous() for end, tensor in made.items()}
            ranks[module] = len(made[_DOWN])
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        **adapter.config(base),
        **_patterns(adapter.config(base), ranks),
        "target_modules": _targets(ranks, modules),
        "fan_in_fan_out": _model_type(architecture) == "gpt2",
        "bias": "none",
        "modules_to_save": None,
        "init_lora_weights": True,
        "inference_mode": True,
    }
    about = {"model_type": _model_type(architecture), "sha256": adapters.fingerprint(decoder)}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(sorted(tensors.items())), folder / WEIGHTS, metadata={_BASE: json.dumps(about, sort_keys=True)})
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load(decoder: nn.Module, architecture: Architecture, folder: Path) -> None:
    """Freeze the decoder and put the folder's adapter beside its layers, in place, ready to train on or to merge.

    Errors: ArtifactError where the files are damaged, of another base, or hold what lode does not know.
    """
    read_in = read(decoder, architecture, folder)
    found = adapters.layers(decoder)
    decoder.requires_grad_(False)
    for name, delta in read_in.items():
        layer = found[name]
        assert isinstance(layer, nn.Linear), f"{name} has an adapter already"
        options = {"rank": delta.rank, "alpha": delta.alpha, "dropout": delta.dropout, "rank_stabilized": delta.rank_stabilized}
        made = LoraLinear(layer, **options, decomposed=delta.magnitude is not None)  # type: ignore[arg-type]
        with torch.no_grad():
            made.down.copy_(delta.down)
            made.up.copy_(delta.up)
            if made.magnitude is not None and delta.magnitude is not None:
                made.magnitude.copy_(delta.magnitude)
        adapters.put(decoder, name, made)


def save_model(decoder: nn.Module, adapter: Adapter, architecture: Architecture, folder: Path) -> None:
    """A Hugging Face folder with the adapter merged in, so that whoever loads it gets what was trained; the adapter alone in `adapter`.

    An adapter with `merge: true` is not written apart. No file names the base: paths differ from machine to machine.
    """
    with adapters.bare(decoder):
        state = {name: tensor.detach().clone() for name, tensor in decoder.state_dict().items()}
    state |= {f"{name}.weight": layer.weight() for name, layer in adapters.adapted(decoder).items()}
    folder.mkdir(parents=True, exist_ok=True)
    weights.save_state(state, architecture, folder, None, weights.SHARD_BYTES)
    if not adapter.merge:
        save(decoder, adapter, architecture, folder / FOLDER)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of the adapter that lies beside a merged model, to be written beside it again; empty where there is none."""
    return {name: (folder / FOLDER / name).read_bytes() for name in (CONFIG, WEIGHTS) if (folder / FOLDER / name).is_file()}


def write_contents(files: Mapping[str, bytes], folder: Path) -> None:
    """What `contents` read."""
    for name, content in files.items():
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        write_whole(folder / FOLDER / name, [content])


def read(decoder: nn.Module, architecture: Architecture, folder: Path, base: str | None = None) -> dict[str, Delta]:
    """The folder's adapter by our layers' names, on the host, checked against the base. Errors: ArtifactError.

    base: the fingerprint of the base's weights where the decoder holds them as int8 by now.
    """
    config, tensors = _config(folder), _tensors(folder, _model_type(architecture), decoder, base)
    modules = _modules(decoder, architecture)
    theirs = {key.removeprefix(_PREFIX)[: -len(end)]: end for key in tensors for end in (_DOWN,) if key.endswith(end)}
    strange = sorted(set(theirs) - set(modules))
    if strange or not theirs:
        raise ArtifactError(
            f"{folder}: found adapters for {listed(strange, 4) or 'no layer'}, allowed are layers of this base such as "
            f"{listed(modules, 4)}. It belongs to another base."
        )
    made: dict[str, Delta] = {}
    used = 0
    for module in theirs:
        parts = {end: tensors[key] for end in (_DOWN, _UP, _MAGNITUDE) if (key := f"{_PREFIX}{module}{end}") in tensors}
        used += len(parts)
        _check(folder, module, parts, modules[module], decoder, bool(config.get("use_dora")))
        made |= _to_ours(parts, modules[module], config, module)
    if used < len(tensors):
        raise ArtifactError(
            f"{folder / WEIGHTS}: found {len(tensors) - used} weights beside lora_A, lora_B and lora_magnitude_vector of layers, "
            "allowed are those alone. Train the adapter without embeddings, biases and modules_to_save."
        )
    return made


def _modules(decoder: nn.Module, architecture: Architecture) -> dict[str, list[_Share]]:
    """Their modules (`model.layers.0.self_attn.q_proj`) and which of our layers each holds, in its order of outputs."""
    found: dict[str, list[_Share]] = {}
    for name, layer in adapters.layers(decoder).items():
        shares = found.setdefault(architecture.naming.theirs(name), [])
        start = shares[-1].end if shares else 0
        shares.append(_Share(name, start, start + _outputs(layer)[0]))
    return found


def _outputs(layer: Any) -> tuple[int, int]:
    """Outputs and inputs of a layer, its adapter apart."""
    base = layer.base if isinstance(layer, LoraLinear) else layer
    return base.out_features, base.in_features


def _to_theirs(
    found: Mapping[str, LoraLinear], shares: list[_Share], all_shares: list[_Share], decoder: nn.Module
) -> dict[str, torch.Tensor]:
    """The tensors of one of their modules; `shares` are those of its layers that have an adapter."""
    own = [found[share.name] for share in shares]
    down = torch.cat([layer.down for layer in own])
    up, at = own[0].up.new_zeros(all_shares[-1].end, len(down)), 0
    for share, layer in zip(shares, own, strict=True):
        up[share.start : share.end, at : at + layer.rank] = layer.up
        at += layer.rank
    made = {_DOWN: down, _UP: up}
    if own[0].magnitude is not None:
        # A row without an adapter keeps its own length
        layers = adapters.layers(decoder)
        made[_MAGNITUDE] = torch.cat([_lengths(layers[share.name]) for share in all_shares])
    return made


def _lengths(layer: Any) -> torch.Tensor:
    if isinstance(layer, LoraLinear) and layer.magnitude is not None:
        return layer.magnitude.detach()
    lengths: torch.Tensor = torch.linalg.vector_norm(layer.weight.detach().float(), dim=1)
    return lengths


def _patterns(config: Mapping[str, Any], ranks: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """rank_pattern and alpha_pattern: modules of another rank than the config's, with the same factor."""
    rank, alpha = config["r"], config["lora_alpha"]
    other = {module: found for module, found in ranks.items() if found != rank}
    alphas = {
        module: alpha * (math.sqrt(found / rank) if config["use_rslora"] else found / rank) for module, found in other.items()
    }
    return {"rank_pattern": dict(other), "alpha_pattern": alphas}


def _targets(chosen: Mapping[str, int], modules: Mapping[str, list[_Share]]) -> list[str]:
    """Last words (`q_proj`) where every module of that word has an adapter, else whole names: what PEFT matches."""
    ends: dict[str, set[str]] = {}
    for module in modules:
        ends.setdefault(module.rpartition(".")[2], set()).add(module)
    whole = {end for end, members in ends.items() if members <= set(chosen)}
    return sorted(whole | {module for module in chosen if module.rpartition(".")[2] not in whole})


def _to_ours(parts: Mapping[str, torch.Tensor], shares: list[_Share], config: Mapping[str, Any], module: str) -> dict[str, Delta]:
    """One of their modules as ours."""
    down, up, stabilized = parts[_DOWN], parts[_UP], bool(config.get("use_rslora"))
    rank = len(down)
    alpha = _of(config.get("alpha_pattern"), module, config.get("lora_alpha", 8))
    factor = float(alpha) / (math.sqrt(rank) if stabilized else rank)
    each = rank // len(shares)
    in_blocks = rank % len(shares) == 0 and all(
        not up[share.start : share.end, column].any()
        for at, share in enumerate(shares)
        for column in range(rank)
        if column // each != at
    )
    made = {}
    for at, share in enumerate(shares):
        columns = slice(at * each, (at + 1) * each) if in_blocks else slice(None)
        magnitude = parts[_MAGNITUDE][share.start : share.end] if _MAGNITUDE in parts else None
        dropout = float(config.get("lora_dropout") or 0.0)
        made[share.name] = Delta(down[columns], up[share.start : share.end, columns], magnitude, factor, dropout, stabilized)
    return made


def _of(pattern: Mapping[str, Any] | None, module: str, otherwise: Any) -> Any:
    """The entry whose key is the module's name or its end, or a regular expression for one, as PEFT matches them."""
    return next((value for key, value in (pattern or {}).items() if re.match(rf"(.*\.)?({key})$", module)), otherwise)


def _check(
    folder: Path, module: str, parts: Mapping[str, torch.Tensor], shares: list[_Share], decoder: nn.Module, is_dora: bool
) -> None:
    """Errors: ArtifactError where tensors are missing or have other shapes than the base's layer."""
    outputs, inputs = shares[-1].end, _outputs(adapters.layers(decoder)[shares[0].name])[1]
    rank = len(parts[_DOWN])
    wanted = {_DOWN: (rank, inputs), _UP: (outputs, rank), **({_MAGNITUDE: (outputs,)} if is_dora else {})}
    found = {end: tuple(tensor.shape) for end, tensor in parts.items()}
    if found != wanted:
        raise ArtifactError(
            f"{folder}: found {_told(found)} for {module}, allowed is {_told(wanted)} beside this base. It belongs to another base."
        )


def _told(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{end.strip('.').removesuffix('.weight')} {shape}" for end, shape in shapes.items())


def _config(folder: Path) -> dict[str, Any]:
    """Errors: ArtifactError where there is none, or it asks for what lode does not do."""
    path = folder / CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: found no adapter ({error}), allowed is a folder that peft or lode wrote.") from error
    for key, allowed in _ALLOWED.items():
        if config.get(key, allowed[0]) not in allowed:
            raise ArtifactError(
                f"{path}: found {key}: {config[key]!r}, allowed is {allowed[0]!r}. Train a LoRA or DoRA adapter without it."
            )
    return config


def _tensors(folder: Path, model_type: str, decoder: nn.Module, base: str | None) -> dict[str, torch.Tensor]:
    """Errors: ArtifactError where the file is missing, damaged or says that it belongs to another base."""
    path = folder / WEIGHTS
    if not path.exists():
        pickles = [name.name for name in sorted(folder.glob("adapter_model.*"))]
        raise ArtifactError(
            f"{folder}: found {listed(pickles) or 'no weights'}, allowed is {WEIGHTS}: pickles may run code and are never read. "
            "Save the adapter again with safetensors."
        )
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get(_BASE, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no dict
    except (SafetensorError, ValueError) as error:
        raise ArtifactError(f"{path}: found a damaged file ({error}). Copy or train the adapter again.") from error
    if about.get("model_type", model_type) != model_type:
        raise ArtifactError(
            f'{path}: found an adapter for a "{about["model_type"]}", allowed is one for this base, a "{model_type}".'
        )
    own = (base or adapters.fingerprint(decoder)) if about.get("sha256") else None
    if own is not None and about["sha256"] != own:
        raise ArtifactError(
            f"{path}: found an adapter for base weights {about['sha256'][:12]}, allowed is one for {own[:12]}, which are here. "
            "Load the base that it was trained beside, or train it again."
        )
    return tensors


def _model_type(architecture: Architecture) -> str:
    return str(architecture.config()["model_type"])
