"""Hugging Face encoder checkpoints: config.json + model.safetensors (+ tokenizer.json) to a torch module, and back from its config alone.

The only file that imports the package transformers. Nothing is downloaded, no pickle is read, no code of a checkpoint is run.
Used by the encoder `pretrained`; how its tokenizer cuts texts is in lode/data/encoding/checkpoint_tokens.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel
from transformers.utils import logging

from lode.core.errors import ModelError, listed

_UNUSED = ("pooler",)
"""Parts that a checkpoint may lack or bring: the vectors of the words do not pass through them."""
_LEFT_OUT = frozenset({"_name_or_path", "transformers_version", "architectures", "auto_map", "dtype", "torch_dtype"})
"""Keys of config.json that say where it comes from, not what the network is."""


def read(folder: Path) -> nn.Module:
    """The network with its weights, float32, in evaluation.

    Errors: ModelError where the folder holds no such checkpoint, only pickled weights, another kind of network, or lacks weights.
    """
    _check_files(folder)
    quiet, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, loading = AutoModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, trust_remote_code=False, dtype=torch.float32,
            output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        said = " ".join(str(error).split())[:200]
        raise ModelError(
            f"encoder pretrained: {folder} cannot be read as a checkpoint ({said}). Use one of an architecture that transformers knows."
        ) from error
    finally:
        logging.set_verbosity(quiet)
        if bars:
            logging.enable_progress_bar()
    wrong = [*loading["missing_keys"], *(entry[0] for entry in loading["mismatched_keys"])]
    wrong = sorted(key for key in wrong if not key.startswith(_UNUSED))
    if wrong:
        raise ModelError(
            f"encoder pretrained: {folder}/model.safetensors lacks {len(wrong)} tensors of the network that config.json describes, "
            f"or has them in another size ({listed(wrong, limit=3)}). Take both files from the same checkpoint."
        )
    return _headless(model, str(folder))


def rebuild(config: Mapping[str, Any]) -> nn.Module:
    """The same network with fresh weights, from what `described` gave. Errors: ModelError."""
    record = dict(config)
    try:
        made = AutoConfig.for_model(record.pop("model_type", ""), **record)
        return _headless(AutoModel.from_config(made, trust_remote_code=False, dtype=torch.float32), "config")
    except (ValueError, TypeError, KeyError) as error:
        said = " ".join(str(error).split())[:200]
        raise ModelError(f"encoder pretrained: config describes no network that transformers knows ({said}).") from error


def described(model: nn.Module) -> dict[str, Any]:
    """The network as plain JSON, without weights and without a word on where it came from."""
    config: Any = model.config
    record: dict[str, Any] = json.loads(config.to_json_string(use_diff=True))
    return {key: value for key, value in sorted(record.items()) if key not in _LEFT_OUT}


def _check_files(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"encoder pretrained: {folder} holds no config.json, allowed is the folder of a Hugging Face checkpoint. Check the path."
        )
    if not list(folder.glob("*.safetensors")):
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".h5", ".msgpack"))
        held = f"only {listed(pickled)}" if pickled else "no weights"
        raise ModelError(
            f"encoder pretrained: {folder} holds {held}, allowed is model.safetensors (a pickle can run code). "
            "Take the safetensors file of the same checkpoint, or save it as one where you trust it: model.save_pretrained(folder)."
        )


def _headless(model: Any, where: str) -> nn.Module:
    """Without the pooler, which the words' vectors do not pass. Errors: ModelError for a network that does not read codes of words."""
    config = model.config
    if getattr(config, "is_encoder_decoder", False) or getattr(config, "vocab_size", None) is None:
        raise ModelError(
            f'encoder pretrained: {where} is a "{config.model_type}", allowed is an encoder of texts (bert, roberta, distilbert, ...).'
        )
    for part in _UNUSED:
        if getattr(model, part, None) is not None:
            setattr(model, part, None)
    return model.eval()
