"""A decoder as a Hugging Face folder: config.json and safetensors, one file or several with an index. Never a pickle.

`transformers` loads what `save` writes, `load` reads what `transformers` writes; the names are the architecture's (`Architecture.naming`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from lode.core.disk import write_whole
from lode.core.errors import ArtifactError, ModelError, listed, near_miss
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.language.contracts import Architecture
from lode.model.language.decoder import Decoder

CONFIG, FILE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 5 << 30
"""Largest file, as in transformers."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_FLOATS = {"F64", "F32", "F16", "BF16"}


def save(
    decoder: nn.Module,
    architecture: Architecture,
    folder: Path,
    *,
    extra: Mapping[str, Any] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write config.json and the weights in their own type. A kill leaves no half-written file under its name.

    extra: further entries of config.json (special tokens). shard_bytes: largest file; larger decoders become several with an index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_state({name: tensor.detach() for name, tensor in decoder.state_dict().items()}, architecture, folder, extra, shard_bytes)


def save_state(
    state: Mapping[str, torch.Tensor], architecture: Architecture, folder: Path, extra: Mapping[str, Any] | None, shard_bytes: int
) -> None:
    """As `save`, from a state that lies ready (gathered from several processes, merged with an adapter)."""
    theirs = {name: tensor.cpu().contiguous() for name, tensor in architecture.to_theirs(state).items()}
    shards = _shards(theirs, shard_bytes)
    for name in (INDEX, *(path.name for path in folder.glob("model-*.safetensors"))):
        (folder / name).unlink(missing_ok=True)  # of an earlier save in another number of files
    for name, shard in shards.items():
        partial = folder / f"{name}.tmp"
        save_file(shard, partial, {"format": "pt"})
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, folder / name)
    if len(shards) > 1:
        total = sum(tensor.nbytes for tensor in theirs.values())
        where = {weight: name for name, shard in shards.items() for weight in shard}
        write_whole(folder / INDEX, [_json({"metadata": {"total_size": total}, "weight_map": where})])
        (folder / FILE).unlink(missing_ok=True)
    dtype = str(next(iter(theirs.values())).dtype).removeprefix("torch.")
    write_whole(folder / CONFIG, [_json({**architecture.config(), "torch_dtype": dtype, **(extra or {})})])


def load(folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> tuple[Architecture, Decoder]:
    """The architecture and the decoder, ready to predict (`eval`). dtype: what the weights become, whatever type the files have.

    Errors: ArtifactError for files that are missing, damaged, pickles, or hold other weights than config.json says; ModelError for
    what lode does not build.
    """
    architecture = read_architecture(folder)
    theirs = dict(_tensors(folder))
    if (told := _vocabulary(theirs, architecture)) is not None:
        raise ArtifactError(f"{folder}: {told}")
    try:
        ours = architecture.to_ours(theirs)
    except ArtifactError as error:
        raise ArtifactError(f"{folder}: {error}") from None
    with torch.device("meta"):
        decoder = Decoder(architecture.shape)
    decoder = decoder.to(dtype).to_empty(device=device).eval()
    with torch.no_grad():
        for name, weight in decoder.state_dict().items():
            weight.copy_(ours[name])
    return architecture, decoder


def read_architecture(folder: Path) -> Architecture:
    """The architecture that config.json describes. Errors: ArtifactError where there is none; ModelError for what lode does not build."""
    config = _read_json(folder / CONFIG)
    word = word_of(config)
    registry = REGISTRIES["architecture"]
    kind: Any = registry.get(word)
    vocabulary = config.get("vocab_size", 50257 if word == "gpt2" else None)
    if not isinstance(vocabulary, int):
        raise ArtifactError(
            f"{folder / CONFIG}: found vocab_size: {vocabulary!r}, allowed is a whole number. Take the file of the weights."
        )
    try:
        options = {name: value for name, value in kind.options(config).items() if value is not None}
        made: Architecture = registry.create(Component(word, options), vocabulary)
    except LookupError as error:
        raise ArtifactError(
            f"{folder / CONFIG}: found no entry {error}, which {word} needs. Take the file of the weights."
        ) from error
    return made


def word_of(config: Mapping[str, Any]) -> str:
    """The architecture's word for `model_type`. Errors: ModelError naming those that lode builds."""
    found = config.get("model_type")
    registry = REGISTRIES["architecture"]
    words = {kind: word for word in registry.names() for kind in registry.constant(word, "model_types") or ()}
    if found in words:
        return words[found]
    near = near_miss(str(found), words)
    raise ModelError(
        f'config.json: found model_type "{found}", allowed: {listed(sorted(words), 16)}.{near} Choose weights of one of them.'
    )


def check_vocabulary(size: int, architecture: Architecture, folder: Path) -> None:
    """Errors: ArtifactError where a tokenizer has more tokens than the weights know. (Fewer is usual: weights are padded.)"""
    if size > architecture.shape.vocabulary:
        raise ArtifactError(
            f"{folder}: found a tokenizer of {size} tokens for weights that know {architecture.shape.vocabulary}, allowed are at most as "
            "many. Take tokenizer and weights from one place."
        )


def _vocabulary(theirs: Mapping[str, torch.Tensor], architecture: Architecture) -> str | None:
    """What to say where the embedding has another number of tokens than config.json says."""
    name = architecture.naming.theirs("embed.weight")
    found = theirs.get(name, theirs.get(name.removeprefix(architecture.naming.optional)))
    size = architecture.shape.vocabulary
    if found is None or len(found) == size:
        return None
    return (
        f"found weights for a vocabulary of {len(found)} tokens, allowed are the {size} of config.json (vocab_size). "
        "Correct the one that is wrong."
    )


def _tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """All weights of a folder. Errors: ArtifactError."""
    if (folder / INDEX).exists():
        where = _read_json(folder / INDEX).get("weight_map", {})
        for name in sorted({str(name) for name in where.values()}):
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise ArtifactError(
                    f"{folder / INDEX}: found the file {name!r}, allowed are safetensors files beside it. Download it again."
                )
            yield from _file(folder / name)
    elif (folder / FILE).exists():
        yield from _file(folder / FILE)
    else:
        raise ArtifactError(_no_weights(folder))


def _file(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    if not path.exists():
        raise ArtifactError(f"{path}: found no such file, though the index names it. Download it again.")
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - a file is no mapping
                if file.get_slice(name).get_dtype() not in _FLOATS and not name.endswith((".bias", ".masked_bias", ".inv_freq")):
                    kind = file.get_slice(name).get_dtype()
                    raise ArtifactError(
                        f"{path}: found {name} in {kind}, allowed are {listed(sorted(_FLOATS))}. Choose weights that are not quantised."
                    )
                yield name, file.get_tensor(name)
    except SafetensorError as error:
        raise ArtifactError(f"{path}: not a safetensors file ({error}). Download it again.") from error


def _no_weights(folder: Path) -> str:
    pickles = sorted(path for path in folder.glob("*") if path.suffix in _PICKLES)
    if not pickles:
        return f"{folder}: found no weights, allowed are {FILE}, or several with {INDEX}. Give the folder of a whole model."
    return (
        f"{pickles[0]}: found weights in a pickle, which can run any code when it is read, allowed is {FILE}. Take the safetensors "
        "version of the model, or convert it where nothing can be harmed: AutoModelForCausalLM.from_pretrained(OLD).save_pretrained(NEW)."
    )


def _shards(theirs: Mapping[str, torch.Tensor], shard_bytes: int) -> dict[str, dict[str, torch.Tensor]]:
    """File name -> its weights, in the order of the state."""
    parts: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in theirs.items():
        if parts[-1] and size + tensor.nbytes > shard_bytes:
            parts.append({})
            size = 0
        parts[-1][name] = tensor
        size += tensor.nbytes
    if len(parts) == 1:
        return {FILE: parts[0]}
    return {f"model-{number:05d}-of-{len(parts):05d}.safetensors": part for number, part in enumerate(parts, 1)}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(
            f"{path}: found no such file, allowed is a Hugging Face folder. Give the folder of a whole model."
        ) from None
    except ValueError as error:
        raise ArtifactError(f"{path}: not JSON ({error}). Download it again.") from error
    if not isinstance(found, dict):
        raise ArtifactError(f"{path}: found no mapping. Download it again.")
    return found


def _json(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=2, sort_keys=True) + "\n").encode()
