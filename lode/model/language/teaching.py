"""How a decoder is taught: begin with fresh or given weights, lay out the tokens in rows, and hand both to the training loop.

`Pupil` is to `model: {type: language}` what `lode/model/neural.py` is to networks: build, fit by the loop, save, load, count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from lode.core.errors import ModelError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.choices import Choices, Workload, decide
from lode.model.contracts import Context, Cost, Examples, Fitted
from lode.model.fit import Job, Objective, fit
from lode.model.language import adapter_files, adapters, scoring, weights
from lode.model.language.contracts import DOCUMENTS, LEARNED, TOKENS, Architecture, TokenBatch
from lode.model.language.contracts import Objective as Lesson
from lode.model.language.decoder import Decoder
from lode.model.language.prepared import prepared
from lode.model.language.rows import TokenRows, Unit
from lode.model.parallel import Team
from lode.model.planning.decoder import forward_flops, training_flops
from lode.model.throughput import Meter
from lode.model.training import Training

_FORWARD_TOKENS = 1 << 14
_LOOKS = 10
"""How often validation loss is taken where the file does not say."""
_TOKENS_PER_PARAMETER = 20.0
"""Of the compute-optimal models of Hoffmann 2022 (arXiv 2203.15556, table 3)."""


class Taught(nn.Module):
    """The decoder and what it is taught, as one module: its forward pass is the loss, so that DDP, FSDP and the compiler see all of it."""

    def __init__(self, decoder: Decoder, lesson: Lesson) -> None:
        super().__init__()
        self.decoder = decoder
        self.lesson = lesson

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        return self.lesson.loss(self.decoder, batch)

    @staticmethod
    def layer_name(name: str) -> str:
        """`decoder.layers.3.attention.q` -> "layers.3.attention.q"."""
        return f'layer "{name.removeprefix("decoder.")}"'


class Pupil:
    """A decoder to be taught. Same methods as `Family`.

    vocabulary: tokens of the tokenizer. The options are those of `lode.model.families.language.Language`.
    """

    def __init__(
        self,
        vocabulary: int,
        architecture: Component | None,
        objective: Component | str,
        packing: Literal["documents", "stream"],
        start: str | None,
        adapter: Component | None,
        defaults: Mapping[str, Any],
    ) -> None:
        self.vocabulary, self.packing, self.defaults = vocabulary, packing, defaults
        self.start = None if start is None else Path(start)
        self.asked = architecture
        self.lesson: Lesson = REGISTRIES["objective"].create(Component(objective) if isinstance(objective, str) else objective)
        self.adapter = None if adapter is None else REGISTRIES["adapter"].create(adapter)
        self._decoder: Decoder | None = None
        self._architecture: Architecture | None = None
        self._beside: dict[str, bytes] = {}
        """The adapter alone, of a model that was loaded merged."""

    @property
    def decoder(self) -> Decoder:
        """The fitted decoder, on the CPU."""
        assert self._decoder is not None, "fit or load comes first"
        return self._decoder

    def give(self) -> Decoder:
        """The fitted decoder, of which nothing is kept here: who takes it may change its weights, and they are in memory once."""
        found, self._decoder = self.decoder, None
        return found

    @property
    def architecture(self) -> Architecture:
        """What it is made of, from the file or from where it starts."""
        if self._architecture is None:
            self._architecture = self._draft()[0]
        return self._architecture

    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        """See `Family.fit`. Errors: ModelError where the weights to start from have another vocabulary, or the text fills no row."""
        training = context.training or Training()
        team: Team = context.team or Team()
        draft = self._draft()[1]
        work = self._workload(TokenRows(train, self.unit, draft.shape.context, "cpu", seed=context.seed), draft)
        choices = team.first_before_others(lambda: Choices.read_or_write(context.folder, decide(training, context, work)))
        self._architecture, decoder = self._begin(choices.seed)
        decoder.to(choices.device)

        # Before the weights are divided among processes: what is prepared needs them whole
        held_out = None if stop is None or context.rounds else self._rows("stop", stop, decoder, choices, context)
        rows = self._rows("train", train, decoder, choices, context)
        taught = Taught(decoder, self.lesson)
        shared = team.share(taught)
        objective = Objective([item for item in taught.parameters() if item.requires_grad], lambda batch: shared(batch))

        job = Job(
            module=taught,
            objectives=[objective],
            train=rows,
            stop=held_out,
            rows_per_forward=max(1, _FORWARD_TOKENS // decoder.shape.context),
            layer_name=taught.layer_name,
            figures=lambda batch: self.lesson.figures(decoder, batch),
            meter=_meter(rows, decoder, choices, team.size),
            fixed={name for name, weight in taught.named_parameters() if not weight.requires_grad},
        )
        fitted = fit(job, choices, training, context)
        whole: Any = team.gathered(taught, lambda: Taught(self._begin(choices.seed)[1], self.lesson)).to("cpu")
        self._decoder = whole.decoder.eval()
        adapters.merge(whole.decoder)  # what an artifact holds, so that it answers the same bit for bit
        return fitted

    @property
    def unit(self) -> Unit:
        """What a row is."""
        return "pairs" if self.lesson.reads == "pairs" else self.packing

    def _rows(self, name: str, examples: Examples, decoder: Decoder, choices: Choices, context: Context) -> TokenRows:
        """The rows of a split, with what the objective prepares of them."""
        team: Team = context.team or Team()
        place = None if context.folder is None else context.folder / f"prepared-{name}.safetensors"
        extra = team.first_before_others(lambda: prepared(self.lesson, decoder, examples.arrays, choices.device, place))
        length, shifts = decoder.shape.context, name == "train"
        return TokenRows(examples, self.unit, length, choices.device, seed=choices.seed, shifts=shifts, extra=extra)

    def losses(self, examples: Examples) -> np.ndarray:
        """Nats of the learned tokens of each document, and how many they are, float32 (N, 2)."""
        documents_D = np.asarray(examples.arrays[DOCUMENTS], np.int64)
        context = self.decoder.shape.context
        nats_N = scoring.nats_of_documents(self.decoder, examples.arrays[TOKENS], documents_D, context, context)
        learned_N = np.isfinite(nats_N)
        if LEARNED in examples.arrays:
            learned_N &= np.asarray(examples.arrays[LEARNED][: len(nats_N)]) > 0
        sums = [np.concatenate([[0.0], np.cumsum(part)]) for part in (np.where(learned_N, nats_N, 0.0), learned_N)]
        return np.stack([part[documents_D[1:]] - part[documents_D[:-1]] for part in sums], axis=1).astype(np.float32)

    def cost(self) -> Cost:
        decoder = self._decoder or self._draft()[1]
        tensors = decoder.state_dict().values()
        numbers = sum(parameter.numel() for parameter in decoder.parameters())
        return Cost(numbers, self._flops_per_row(decoder), sum(tensor.numel() * tensor.element_size() for tensor in tensors))

    def save(self, folder: Path) -> None:
        """The whole model, an adapter merged into it; unless it was to be merged, also the adapter alone, in `adapter`, as PEFT has it."""
        if self.adapter is not None and adapters.adapted(self.decoder):
            adapter_files.save_model(self.decoder, self.adapter, self.architecture, folder)
        else:
            weights.save(self.decoder, self.architecture, folder)
            adapter_files.write_contents(self._beside, folder)

    def load(self, folder: Path) -> None:
        self._architecture, decoder = weights.load(folder, "cpu")
        self._decoder, self._beside = decoder.eval(), adapter_files.contents(folder)

    def _draft(self) -> tuple[Architecture, Decoder]:
        """Architecture and decoder for counting: without memory, no weight is read."""
        architecture = self._asked() if self.start is None else weights.read_architecture(self.start)
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            decoder = Decoder(architecture.shape)
            if self.start is not None:
                self._check_start(decoder)
            if self.adapter is not None:
                self.adapter.attach(decoder)
        return architecture, decoder

    def _begin(self, seed: int) -> tuple[Architecture, Decoder]:
        """Architecture and decoder with the weights that training begins with, on the CPU."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            if self.start is not None:
                architecture, decoder = weights.load(self.start, "cpu")
                self._check_start(decoder)
            else:
                architecture = self._asked()
                decoder = Decoder(architecture.shape)
            if self.adapter is not None:
                self.adapter.attach(decoder)
        return architecture, decoder

    def _asked(self) -> Architecture:
        if self.asked is None:
            words = ", ".join(REGISTRIES["architecture"].names())
            raise ModelError(
                f"model.architecture: found nothing, and no model.start whose architecture could be taken, allowed: {words}. "
                "Write `architecture: {type: llama, layers: 6, heads: 6, width: 384, context: 256}`, or `start: FOLDER`."
            )
        found: Architecture = REGISTRIES["architecture"].create(self.asked, self.vocabulary)
        return found

    def _check_start(self, decoder: Decoder) -> None:
        """Errors: ModelError where tokenizer and weights do not belong together, or the file asks for another architecture."""
        known = decoder.shape.vocabulary
        if self.vocabulary > known:
            raise ModelError(
                f"model.start: {self.start} has weights for {known} tokens, the tokenizer has {self.vocabulary}, allowed is the "
                "tokenizer that these weights were trained with. Remove model.tokenizer, so that it is taken from there."
            )
        if self.asked is not None:
            raise ModelError(
                f"model.architecture: found beside model.start, which brings its own ({self.start}), allowed is one of them. Remove it."
            )

    def _workload(self, rows: TokenRows, decoder: Decoder) -> Workload:
        parameters, context = sum(item.numel() for item in decoder.parameters()), decoder.shape.context
        passes = round(_TOKENS_PER_PARAMETER * parameters / max(rows.num_positions, 1))
        return Workload(
            num_rows=len(rows.trainable),
            flops_per_row=self._flops_per_row(decoder),
            max_batch=int(min(256, max(4, 2 ** int(math.log2(max(1, (1 << 15) // context)))))),
            learning_rate=_learning_rate(parameters),
            tokens=context,
            looks=_LOOKS,
            defaults={**self.defaults, "epochs": int(min(20, max(1, passes)))},
        )

    @staticmethod
    def _flops_per_row(decoder: Decoder) -> int:
        return int(forward_flops(decoder.shape, decoder.shape.context) * decoder.shape.context)


def _meter(rows: TokenRows, decoder: Decoder, choices: Choices, processes: int) -> Meter:
    frozen = sum(item.numel() for item in decoder.parameters() if not item.requires_grad)
    learned = sum(item.numel() for item in decoder.parameters() if item.requires_grad)
    # Beside frozen weights a third of the work is not done: it is not needed, and does not count
    flops = training_flops(decoder.shape, decoder.shape.context, trained=learned / frozen if frozen else 1.0)
    return Meter(rows.num_positions / rows.num_rows, flops, choices.device, choices.precision, processes)


def _learning_rate(parameters: int) -> float:
    """Kaplan 2020 (arXiv 2001.08361, equation D.1), for adam on decoders."""
    return float(max(1e-4, 0.003239 - 0.0001395 * math.log(parameters)))
