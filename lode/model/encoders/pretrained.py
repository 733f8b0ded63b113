"""A text through a network that was trained elsewhere: any Hugging Face encoder checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import nn

from lode.core import packages
from lode.core.errors import ModelError
from lode.core.types import FilePath, Range, TensorSpec
from lode.model import lora
from lode.model.blocks import is_tokens
from lode.model.modules import Encoder
from lode.model.recurrent import first_always, masked_mean

_NUM_SPECIAL = 2  # codes of the feature: 0 padding, 1 unknown, then the tokenizer's own from 0
_RATES = {"full": 0.03, "lora": 0.3, "frozen": 1.0}


class Pretrained(Encoder):
    """The words' vectors of a checkpoint (BERT, RoBERTa, DistilBERT, MiniLM, ...), as their mean or the first one.

    The feature cuts the texts with the checkpoint's own tokenizer. Network, weights and tokenizer lie in the artifact; serving reads
    nothing else. Needs lodeml[pretrained]. Devlin 2018, arXiv 1810.04805; LoRA: Hu 2021, arXiv 2106.09685.

    Args:
        path: Folder with config.json, model.safetensors and tokenizer.json; with a revision, the name of a repository of the Hugging
            Face hub.
        revision: Commit of that repository; it is downloaded once.
        tune: full trains every weight, lora small matrices beside frozen ones, frozen only what comes behind; then each text's
            vector is computed once.
        pool: mean over the words, or cls, the first one's vector.
        rate: Learning rate of the checkpoint's weights (or of the adapters) as a share of train.learning_rate; left open, 0.03 for
            full, 0.3 for lora.
        rank: Rank of the adapters of lora.
        alpha: The adapters count alpha / rank times.
        dropout: Share of the adapters' inputs set to 0 in training.
        config: The network instead of a path, as in config.json, with fresh weights; artifacts hold it.
    """

    reads = ("text",)
    fits = (("path", "instead of", "config"),)
    cuts = True
    hidden: torch.Tensor
    gives_steps: ClassVar[bool] = True
    own_weights: ClassVar[bool] = True
    feature_from: ClassVar[dict[str, str]] = {"checkpoint": "path"}
    training_defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-3, "clip": 1.0}

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        path: FilePath | None = None,
        revision: str | None = None,
        tune: Literal["full", "frozen", "lora"] = "full",
        pool: Literal["mean", "cls"] = "mean",
        rate: Annotated[float, Range(0, open_low=True)] | None = None,
        rank: Annotated[int, Range(1)] = 8,
        alpha: Annotated[float, Range(0, open_low=True)] = 16.0,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.0,
        config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.base, self.config = _network(path, config)
        details: Any = self.base.config
        _check_fit(specs[0], details, path)
        self.pool, self.tune = pool, str(tune)
        if tune == "lora":
            lora.adapt(self.base, rank=rank, alpha=alpha, dropout=dropout)
        elif tune == "frozen":
            self.base.requires_grad_(False)
        for parameter in self.base.parameters():
            parameter.rate_factor = _RATES[tune] if rate is None else rate  # type: ignore[attr-defined]
        self.padding = int(getattr(details, "pad_token_id", None) or 0)
        # A word that augmentation hides; in the state, because only the tokenizer beside the weights knows it
        self.register_buffer("hidden", torch.tensor(_hidden(path)))
        self.width = int(getattr(details, "hidden_size", None) or details.dim)
        self.constant = tune == "frozen"

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_tokens(spec) and spec.ordered

    def portable(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {**options, "path": None, "revision": None, "config": self.config, "tune": self.tune}

    def settle(self) -> None:
        """Adapters go into the weights: beside them they would cost each answer a tenth to a quarter more."""
        if self.tune == "lora":
            lora.fold(self.base)
            self.tune = "full"

    def train(self, mode: bool = True) -> Pretrained:
        """A frozen network drops nothing either: its vectors are constant."""
        super().train(mode)
        if self.tune == "frozen":
            self.base.eval()
        return self

    def steps(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The words' vectors (B, T, width) and where there are words (B, T), special ones included."""
        tokens_BT = inputs[0].long()
        keep_BT = first_always(tokens_BT != 0)
        ids_BT = torch.where(tokens_BT == 1, self.hidden, (tokens_BT - _NUM_SPECIAL).clamp_min(0))
        ids_BT = torch.where(tokens_BT == 0, self.padding, ids_BT)
        return self.base(input_ids=ids_BT, attention_mask=keep_BT.long()).last_hidden_state, keep_BT

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        if inputs[0].is_floating_point():  # computed before, see lode/model/vectors.py
            return inputs[0]
        h_BTD, keep_BT = self.steps(inputs)
        return masked_mean(h_BTD, keep_BT) if self.pool == "mean" else h_BTD[:, 0]


def _network(path: str | None, config: dict[str, Any] | None) -> tuple[nn.Module, dict[str, Any]]:
    """The network and its description. Errors: ModelError; MissingPackageError where transformers is not installed."""
    try:
        from lode.model import checkpoints  # 5 s and a package of its own: only who asks for a checkpoint needs it
    except ModuleNotFoundError as error:
        if error.name not in ("transformers", "tokenizers"):
            raise
        raise packages.missing("encoder pretrained", error) from error
    network = checkpoints.read(Path(path)) if path is not None else checkpoints.rebuild(config or {})
    return network, checkpoints.described(network)


def _check_fit(spec: TensorSpec, config: Any, path: str | None) -> None:
    """Whether the texts were cut for this network."""
    codes, known = (spec.cardinality or 0) - _NUM_SPECIAL, int(config.vocab_size)
    if codes > known:
        raise ModelError(
            f"encoder pretrained: the texts have {codes} different tokens, the checkpoint {path or ''} knows {known}: they were "
            "cut by another tokenizer. Leave out `tokens` of the input, so that the checkpoint's own cuts them."
        )
    limit = getattr(config, "max_position_embeddings", None)
    # RoBERTa and its kin count places from behind the code of padding
    limit = limit and limit - (config.pad_token_id + 1 if "roberta" in config.model_type else 0)
    if limit and spec.shape[0] > limit:
        raise ModelError(
            f"encoder pretrained: the texts have up to {spec.shape[0]} tokens, the checkpoint reads {limit}. "
            f"Use length: {limit} for the input."
        )


def _hidden(path: str | None) -> int:
    """The code of the checkpoint's mask token, or of its unknown one; 0 where it names neither, or where the state will say it."""
    if path is None or not (Path(path) / "tokenizer.json").is_file():
        return 0
    from tokenizers import Tokenizer  # comes with transformers

    engine = Tokenizer.from_file(str(Path(path) / "tokenizer.json"))
    found = [engine.token_to_id(word) for word in ("[MASK]", "<mask>", "[UNK]", "<unk>")]
    return next((code for code in found if code is not None), 0)
