"""The artifact of a language model: weights and tokenizer as `transformers` reads them, and the proof that it answers as in training.

artifact.json      format version, and what was built (recipe: the `model:` section, the columns that it was taught from)
model/             config.json, model.safetensors, tokenizer.json, tokenizer_config.json, chat_template.jinja; what an adapter learned is
                   merged into the weights, and lies in adapter/ beside them, as `peft` reads it
parity.safetensors held-out tokens and the log-probabilities that the model gave them in training
card.json, lineage.json, hash.json    what is known about it, where it comes from, what it must hash to
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from safetensors.numpy import load_file, save

from lode.core.errors import ArtifactError, DataError, ModelError
from lode.core.registry import REGISTRIES
from lode.core.types import ColumnSchema, Component, FlatSpec, Problem, TensorSpec
from lode.data.corpus import chat, render, tokenizers
from lode.data.corpus.contracts import Tokenizer
from lode.model.contracts import Cost, Shapes
from lode.model.language.adapters import fingerprint
from lode.model.language.engine.contracts import Delta, Request, Sampling
from lode.model.language.engine.engine import Engine
from lode.model.language.engine.quantize import quantized
from lode.pipeline.artifact import TOLERANCE, content_hash
from lode.pipeline.language.narrow import Narrowing, narrowing
from lode.pipeline.state import read_json, write_bytes, write_json

FORMAT = 3
"""Of artifact.json: 1 and 2 hold models of rows (lode/pipeline/artifact.py)."""

Device = Literal["auto", "cpu", "cuda"]
Weights = Literal["fp32", "bf16", "int8"]

_PARITY_TOKENS = 2048
_CACHE_BYTES = 256 << 20
_PARITY = "parity.safetensors"


def shapes_of(vocabulary: int) -> Shapes:
    """What the family `language` knows before it sees a token."""
    return Shapes({"tokens": TensorSpec("int32", (), cardinality=vocabulary)}, FlatSpec((), ()))


@dataclass(slots=True)
class LanguageModel:
    """A trained language model with its tokenizer: text in, text out.

    recipe: {"model": the resolved `model:` section, "objective": a component, "reads": "text" | "chat" | "pairs", "columns": of the
    prompt}.
    family: a `lode.model.families.language.Language`, fitted.
    """

    family: Any
    tokenizer: Tokenizer
    recipe: Mapping[str, Any]
    name: str = ""
    version: int | None = None
    hash: str = ""
    card: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    narrowing: Narrowing | None = None
    _kept: Engine | None = field(default=None, repr=False, compare=False)

    @property
    def decoder(self) -> Any:
        """The network, a `lode.model.language.decoder.Decoder`."""
        return self.family.decoder

    @property
    def architecture(self) -> Any:
        """What the decoder is made of, a `lode.model.language.contracts.Architecture`."""
        return self.family.architecture

    @property
    def context(self) -> int:
        """Most tokens of a prompt and its answer together."""
        return int(self.architecture.shape.context)

    @property
    def chats(self) -> bool:
        """Whether it was taught to answer, not only to go on."""
        return self.recipe["reads"] != "text"

    @property
    def columns(self) -> tuple[ColumnSchema, ...]:
        """Columns of a table to answer: what it was prompted with in training."""
        return tuple(ColumnSchema(name, "text", "string", "a text") for name in self.recipe["columns"])

    @property
    def ignored(self) -> frozenset[str]:
        """No column is taken and not read."""
        return frozenset()

    @property
    def answers(self) -> tuple[ColumnSchema, ...]:
        """Columns of an answer."""
        return (ColumnSchema("completion", "text", "string", "a text"),)

    def cost(self) -> Cost:
        """Parameters, operations of one token, bytes of the weights."""
        found: Cost = self.family.cost()
        return found

    def engine(
        self,
        *,
        memory_bytes: int = _CACHE_BYTES,
        max_sequences: int = 64,
        max_waiting: int = 1 << 20,
        device: Device = "auto",
        weights: Weights = "fp32",
        adapters: Mapping[str, Path] | None = None,
        max_rise: float = 0.0,
    ) -> Engine:
        """A generation engine over the model's weights, or over narrower ones that are made of them. It takes them with it, so that they
        are in memory once: the model itself answers nothing from then on.

        memory_bytes: of its cache. device: auto for a GPU where torch sees one. adapters: PEFT folders. max_rise: by how much the
        perplexity of the kept held-out tokens may rise with bf16 or int8, as a share; `narrowing` says by how much it did.
        Errors: ModelError where it is more, or where there is no GPU.
        """
        place = _place(device)
        self._kept, decoder = None, self.family.give().to(place)
        base = fingerprint(decoder) if adapters and weights == "int8" else None
        if weights != "fp32":
            decoder = decoder.to(torch.bfloat16) if weights == "bf16" else quantized(decoder)
            if self.folder is not None:
                self.narrowing = narrowing(decoder, weights, load_file(self.folder / _PARITY), max_rise)
        made = Engine(
            decoder, self.tokenizer, memory_bytes=memory_bytes, max_sequences=max_sequences, max_waiting=max_waiting,
            architecture=self.architecture, base=base,
        )  # fmt: skip
        for name, folder in (adapters or {}).items():
            made.attach(name, folder)
        return made

    def move(self, device: str) -> LanguageModel:
        """Answer from another device from now on ("cpu", "cuda"); returns itself."""
        self.decoder.to(device)
        self._kept = None
        return self

    def generate(self, prompts: Sequence[str], sampling: Sampling | None = None) -> list[str]:
        """What follows each prompt, without the prompt. sampling: left open, 256 tokens at temperature 1.

        Errors: ModelError where a prompt leaves no room in the context.
        """
        return self._generated([self._tokens(prompt) for prompt in prompts], sampling)

    def chat(self, messages: Sequence[Mapping[str, Any]], sampling: Sampling | None = None) -> str:
        """The assistant's answer to a conversation: [{"role": "user", "content": ...}, ...]."""
        return self._generated([chat.prompt(self.tokenizer, messages).tolist()], sampling)[0]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (N, width): mean of the last hidden states of each text, of length 1."""
        return self._engine.embed([self._tokens(text) for text in texts])

    def logprobs(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Of each text the log-probability (nats) of every token after the first, float32 (T - 1,)."""
        return self._engine.logprobs([self._tokens(text) for text in texts])

    def problems(self, frame: pl.DataFrame) -> list[Problem]:
        """Missing columns, cells that are no text, prompts that leave no room for an answer."""
        found = [
            Problem(None, column.name, "no such column", "a column of prompts")
            for column in self.columns
            if column.name not in frame.columns
        ]
        if found:
            return found
        first, allowed = self.columns[0].name, "a conversation" if self.chats else "a text"
        for number, row in enumerate(frame.select(self.recipe["columns"]).iter_rows(named=True)):
            try:
                length = len(self._prompt(row))
            except DataError as error:
                found.append(Problem(number, first, str(error).split(", allowed")[0], allowed))
                continue
            if length >= self.context:
                found.append(Problem(number, first, f"{length:,} tokens", f"fewer than {self.context:,}, the model's context"))
        return found

    def unseen(self, frame: pl.DataFrame) -> dict[str, int]:
        """No cell can hold what a tokenizer of bytes has never seen."""
        return {}

    def predict(self, frame: pl.DataFrame, *, check: bool = True) -> pl.DataFrame:
        """One column, `completion`: the likeliest continuation (greedy, at most 256 tokens) of each row's prompt.

        Errors: DataError with every problem, unless check is False.
        """
        problems = self.problems(frame) if check else []
        if problems:
            raise DataError(
                "\n".join(f"row {item.row}: {item.column}: {item.found}, allowed: {item.allowed}." for item in problems[:20])
            )
        prompts = [self._prompt(row) for row in frame.select(self.recipe["columns"]).iter_rows(named=True)]
        return pl.DataFrame({"completion": self._generated(prompts, Sampling(temperature=0.0))})

    def save(self, folder: Path) -> str:
        """Write everything but parity, card and lineage; returns the content hash."""
        (folder / "model").mkdir(parents=True, exist_ok=True)
        self.family.save(folder / "model")
        self.tokenizer.save(folder / "model")
        write_json(folder / "artifact.json", {"format": FORMAT, "recipe": dict(self.recipe)})
        return content_hash(folder)

    def keep_parity(self, tokens: np.ndarray, folder: Path) -> None:
        """Keep the log-probabilities of held-out tokens (N,), of which some are taken, beside the model."""
        kept = np.asarray(tokens[: min(_PARITY_TOKENS, self.context)]).astype(np.int64)
        write_bytes(folder / _PARITY, save({"tokens": kept, "logprobs": self._parity(kept)}))

    def verify(self) -> dict[str, Any]:
        """Answer the kept tokens again. Returns {"rows", "largest_difference", "bitwise"}. Errors: ArtifactError where it differs."""
        assert self.folder is not None, "a model is verified where it lies"
        kept = load_file(self.folder / _PARITY)
        now = self._parity(kept["tokens"])
        # np.max, unlike max, lets no NaN pass for a small number.
        largest = float(np.max(np.abs(now - kept["logprobs"]), initial=0.0))
        bitwise = bool(np.array_equal(now, kept["logprobs"]))
        if not bitwise and not largest <= TOLERANCE * max(1.0, float(np.abs(kept["logprobs"]).max(initial=0.0))):
            raise ArtifactError(
                f"{self.folder}: parity check failed on {len(now):,} held-out tokens: answers differ from training by up to {largest:.3g}, "
                f"allowed is {TOLERANCE:g}. It is not served; make it again with `lode run`."
            )
        return {"rows": len(now), "largest_difference": largest, "bitwise": bitwise}

    def _parity(self, tokens: np.ndarray) -> np.ndarray:
        if len(tokens) < 2:
            return np.zeros(0, np.float32)
        return self._engine.logprobs([tokens.tolist()])[0]

    def _tokens(self, text: str) -> list[int]:
        """A text to go on from, as a document begins: with the token that its tokenizer puts first, if there is one."""
        first = [] if self.tokenizer.begin is None else [self.tokenizer.begin]
        found = [*first, *(int(token) for token in self.tokenizer.encode([text])[0])]
        if not found and self.tokenizer.end is not None:
            return [self.tokenizer.end]  # nothing to go on from: as a new document begins
        return found

    def _prompt(self, row: Mapping[str, Any]) -> list[int]:
        """What a row asks, as tokens. Errors: DataError where it asks nothing."""
        objective, columns = Component.from_json(self.recipe["objective"]), self.recipe["columns"]
        if not self.chats:
            text = row[columns[0]]
            if not isinstance(text, str):
                raise DataError("nothing" if text is None else f"{type(text).__name__} {str(text)[:40]}")
            return self._tokens(text)
        messages = [objective.options["messages"]] if objective.options.get("messages") else []
        asked = render.asked(row, columns, messages, objective.options.get("system"))
        return chat.prompt(self.tokenizer, _question(asked)).tolist()

    def _generated(self, prompts: Sequence[Sequence[int]], sampling: Sampling | None) -> list[str]:
        chosen, engine = sampling or Sampling(), self._engine
        texts = [""] * len(prompts)
        try:
            for number, tokens in enumerate(prompts):
                engine.submit(_request(number, tokens, chosen, self.context))
            while engine.has_work:
                for delta in engine.step():
                    texts[int(delta.id)] += _text(delta)
        finally:
            for number in range(len(prompts)):  # of a call that failed
                engine.cancel(str(number))
            engine.step()
        return texts

    @property
    def _engine(self) -> Engine:
        """The engine of this object's own calls. It shares no prefixes: what was asked before must not change a bit of an answer."""
        if self._kept is None:
            shape = self.architecture
            self._kept = Engine(self.decoder, self.tokenizer, max_waiting=1 << 20, share_prefixes=False, architecture=shape)
        return self._kept


def read(folder: Path) -> LanguageModel:
    """Load a model folder. Errors: ArtifactError where it is damaged, incomplete or of a later format."""
    record = read_json(folder / "artifact.json")
    if record.get("format") != FORMAT:
        raise ArtifactError(f"{folder}: artifact format {record.get('format')}, a language model has {FORMAT}. Upgrade lode.")
    tokenizer = tokenizers.load(folder / "model")
    recipe = record["recipe"]
    component = Component.from_json(recipe["model"])
    family = REGISTRIES["family"].create(component, shapes_of(tokenizer.size), {})
    family.load(folder / "model")
    return LanguageModel(family, tokenizer, recipe, hash=content_hash(folder), folder=folder)


def _place(device: Device) -> str:
    """Errors: ModelError where there is no GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("serve.device: found cuda, but torch sees no GPU, allowed here: cpu. Write it, or auto.")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def _question(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A conversation up to the last thing that was said to the assistant."""
    return messages[:-1] if messages[-1]["role"] == "assistant" and len(messages) > 1 else messages


def _text(delta: Delta) -> str:
    if delta.finish_reason == "error":
        raise ArtifactError(
            f"generation: {delta.error}. The weights are damaged or the precision is too low; train or load them again."
        )
    return delta.text


def _request(number: int, tokens: Sequence[int], sampling: Sampling, context: int) -> Request:
    """No more tokens than the context has room for; one seed for all, each sequence its own."""
    room = max(1, min(sampling.max_tokens, context - len(tokens)))
    seed = None if sampling.seed is None else sampling.seed + number
    return Request(id=str(number), tokens=tokens, sampling=replace(sampling, max_tokens=room, seed=seed))
