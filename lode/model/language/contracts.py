"""The contracts of language models. Legend: B rows, T positions, D width, H query heads, G key/value heads, K head width, V vocabulary.

An architecture (a file in lode/model/architectures) says what a decoder is made of and what its weights are called elsewhere; an
objective (lode/model/objectives) says what is learned from which tokens; an adapter (lode/model/adapters) trains a few weights beside
frozen ones. The decoder itself is `lode/model/language/decoder.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import nn

from lode.model.shape import Shape as Shape


@dataclass(frozen=True, slots=True)
class Look:
    """How one layer looks. scale: what scores are multiplied by. window: how many positions a query sees, its own included; None: all.

    softcap: scores become softcap * tanh(scores / softcap) before the softmax; None: as they are. dropout: of the softmax's weights,
    0 outside training.
    """

    scale: float
    window: int | None = None
    softcap: float | None = None
    dropout: float = 0.0


class Attend(Protocol):
    """How queries meet keys: causal in a batch of rows, within documents, or over the pages of an engine's cache.

    Everything else of a decoder works position by position, so this is the only thing that training and the engine do differently.
    """

    def __call__(self, layer: int, q_BTHK: torch.Tensor, k_BTGK: torch.Tensor, v_BTGK: torch.Tensor, look: Look) -> torch.Tensor:
        """What the heads of a layer give, (B, T, H, K). Queries and keys are rotated already."""


class Architecture(ABC):
    """One architecture: options to a Shape, and the names of weights in Hugging Face's checkpoints both ways.

    `__init__(self, vocabulary: int, *, layers, heads, width, ..., context, dropout)`: positional is what the platform knows.
    """

    model_types: ClassVar[tuple[str, ...]]
    """What `model_type` of a Hugging Face config.json may say."""
    naming: ClassVar[Any]
    """What weights and layers are called there: `naming.theirs("layers.0.attention.q")`."""

    shape: Shape

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The config.json that `transformers` reads (architectures, model_type, sizes); special tokens are the tokenizer's to say."""

    @classmethod
    @abstractmethod
    def options(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword options for a config.json. Errors: ModelError naming what lode does not build."""

    @abstractmethod
    def to_theirs(self, ours: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Hugging Face's names and layouts for the decoder's state."""

    @abstractmethod
    def to_ours(self, theirs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The decoder's state from Hugging Face's. Errors: ArtifactError naming weights that are missing, left over or misshapen."""


@dataclass(slots=True)
class TokenBatch:
    """Rows of tokens on the device, as an objective gets them.

    tokens_BT: int64, what goes in; targets_BT: int64, the token that follows each, -100 where none is learned.
    positions_BT: int64, within each document; None for 0..T-1 in every row. documents_BT: int32, which document of the row each
    position belongs to, -1 for padding; None where nothing divides a row (every position may see all before it).
    extra: what `Objective.prepare` made, by its name, (B, ...) on the device. Where an objective reads "pairs", rows 2i and 2i + 1 are the
    chosen and the rejected continuation of one prompt, a document each, of which the first `context` tokens go in; num_rows are pairs.
    num_rows, share: as in `lode.model.batches.Batch`; share is that of the learned tokens (of pairs, of its pairs) of the whole batch.
    weight: learned tokens (pairs) in it, what it counts in a mean over batches.
    """

    tokens_BT: torch.Tensor
    targets_BT: torch.Tensor
    num_rows: int
    positions_BT: torch.Tensor | None = None
    documents_BT: torch.Tensor | None = None
    extra: dict[str, torch.Tensor] = field(default_factory=dict)
    share: float = 1.0
    weight: float = 1.0

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """By name, for messages."""
        return {TOKENS: self.tokens_BT}


class Objective(ABC):
    """What a language model is taught. `__init__(self, *, ...)`: which columns hold what, and the options of the loss.

    reads: how `lode.data.corpus` renders a record: "text" (one document), "chat" (a conversation, answers learned), "pairs" (a
    prompt with a chosen and a rejected answer: two documents side by side).
    """

    reads: ClassVar[Literal["text", "chat", "pairs"]]

    @abstractmethod
    def loss(self, decoder: nn.Module, batch: TokenBatch) -> torch.Tensor:
        """Mean loss over the learned tokens (or pairs) of a batch, float32 (), natural logarithm."""

    def prepare(self, decoder: nn.Module, tokens: Mapping[str, np.ndarray], device: str) -> dict[str, np.ndarray]:
        """Arrays (documents, ...) computed once before training with the weights that it starts from; most need none."""
        return {}

    def figures(self, decoder: nn.Module, batch: TokenBatch) -> dict[str, torch.Tensor]:
        """What the history tells beside the loss on held-out rows, means over the batch, float32 (); most objectives tell nothing more."""
        return {}


class Adapter(ABC):
    """A few trained weights beside frozen ones, in PEFT's format. `__init__(self, *, rank, alpha, ..., merge)`.

    merge: whether an artifact holds the merged model alone, without the adapter beside it.
    """

    merge: bool

    @abstractmethod
    def attach(self, decoder: nn.Module) -> None:
        """Freeze the decoder and put the adapter's weights beside the layers it names, in place."""

    @abstractmethod
    def config(self, base: str) -> dict[str, Any]:
        """The adapter_config.json that `peft` reads. base: what `base_model_name_or_path` says."""


TOKENS, DOCUMENTS, LEARNED = "tokens", "documents", "learned"
"""Arrays of `Examples` for a family that needs "tokens": tokens (N,) uint16 or uint32; documents (num_rows + 1,) int64, where each
document begins in them; learned (N,) uint8, 1 where a token is to be learned, absent where all are. Of pairs, documents 2i and 2i + 1
are the chosen and the rejected continuation of one prompt."""


class Words(Protocol):
    """What the engine needs of a tokenizer (`lode.data.corpus.contracts.Tokenizer` is one; the model layer does not import it)."""

    size: int
    end: int | None

    def decode(self, tokens: Sequence[int]) -> str: ...
