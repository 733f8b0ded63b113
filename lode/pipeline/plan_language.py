"""The plan of a language model: by formula from its shape, without a document; what only documents can tell is assumed and said."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lode.core.hardware import Device
from lode.core.registry import REGISTRIES
from lode.core.spec import Spec
from lode.core.types import Component
from lode.data.corpus import tokenizers
from lode.data.place import Place
from lode.model.choices import Choices
from lode.model.contracts import Context, Examples, Fitted
from lode.model.fit import Job
from lode.model.language.weights import read_architecture
from lode.model.planning import clock, decoder, memory, sharding
from lode.model.planning.activations import Step
from lode.model.planning.forecast import Forecast, step_band
from lode.model.planning.memory import Keeping
from lode.model.planning.serving import serving
from lode.model.shape import Shape
from lode.model.training import Training
from lode.pipeline.language.model import shapes_of
from lode.pipeline.language.start import Start
from lode.pipeline.manifest import anonymous_memory_bytes
from lode.pipeline.state import read_json
from lode.pipeline.work import Work

_CHARACTERS, _BYTES = 128, 260
_TOKENS_PER_PARAMETER = 20.0
_TRIAL_STEPS = 20
_JUDGED_TOKENS = 1 << 14
"""As in `lode/model/language/teaching.py`."""
_LAYERS = {"attention": ("q", "k", "v", "out"), "mlp": ("gate", "up", "down")}


@dataclass(slots=True)
class _Asked:
    """What the file asks for, with what was assumed. tokens: of the training documents, None where nobody knows."""

    shape: Shape
    training: Training
    unit: str
    tokens: float | None
    adapter: int
    notes: list[str]

    @property
    def wide(self) -> int:
        """Rows of tokens that a row of the batch stands for: a pair is two."""
        return 2 if self.unit == "pairs" else 1


def plan(spec: Spec, device: Device, devices: int, trial: bool, runs: Path, data: Path | None) -> dict[str, Any]:
    """See `lode.pipeline.plan.plan`."""
    asked = _asked(spec, runs, data)
    shape, training = asked.shape, asked.training
    batch, steps = _batch_and_steps(asked)
    half, precision = _precision(asked, device, batch)
    step = Step(
        rows=-(-batch // training.accumulate) * asked.wide, length=shape.context, half=half, gpu=device.kind == "gpu",
        masked=asked.unit == "documents", recompute=training.checkpoint_activations,
    )  # fmt: skip
    keeping = Keeping(
        optimizer=training.optimizer or "adamw", average=training.ema is not None, checkpoints=device.kind == "cpu", adapter=asked.adapter,
        sharding="alone" if devices == 1 else training.strategy if training.strategy in ("ddp", "fsdp", "tensor") else "ddp",
        devices=devices, adds_up=training.accumulate > 1, judged_tokens=_judged(spec, shape),
    )  # fmt: skip
    base = float(anonymous_memory_bytes()) if device.kind == "cpu" else 0.0
    share = asked.adapter / sum(decoder.parameters(shape).values()) if asked.adapter else 1.0
    flops = batch * asked.wide * shape.context * decoder.training_flops(shape, shape.context, step.recompute, share)
    found = sharding.ways(shape, step, keeping, device, sorted({1, devices, 2, 4, 8} if device.kind == "gpu" else {devices}), base)
    trial_s = _trial(asked, spec, batch) if trial else None
    factor = clock.EXPERTS_FACTOR if shape.experts else 1.0
    if shape.experts and trial_s is None:
        asked.notes.append(
            f"A mixture of experts is assumed to reach {factor:.0%} of a dense model's share of the peak (nanochat)."
        )
    if trial_s is None:
        low, high = device.mfu[precision]
        asked.notes.append(f"{low:.0%} to {high:.0%} of the peak assumed: {device.mfu_source}.")
    own_rows = step.rows if keeping.sharding in ("alone", "tensor") else -(-step.rows // devices)
    count = sum(decoder.parameters(shape).values())
    made = Forecast(
        parameters=count + asked.adapter, trained=asked.adapter or count,
        rows_per_step=batch, steps=steps, flops_per_step=flops,
        memory=memory.training(shape, replace(step, rows=own_rows), keeping, base), precision=precision, device=device,
        step_s=step_band(flops, device, precision, devices, trial_s, factor), devices=devices, sharding=keeping.sharding,
        trial_s=trial_s, notes=tuple(asked.notes), tokens_per_step=batch * asked.wide * shape.context,
    )  # fmt: skip
    return _record(spec, asked, made, found, sharding.best(found), batch)


def _record(
    spec: Spec, asked: _Asked, made: Forecast, ways: list[sharding.Fit], best: sharding.Fit | None, batch: int
) -> dict[str, Any]:
    shape, device = asked.shape, made.device
    half = made.precision != "fp32"
    tokens = batch * asked.wide * shape.context
    share = asked.adapter / made.parameters if asked.adapter else 1.0
    needed = tokens * decoder.training_flops(shape, shape.context, trained=share)  # what is computed twice is no use
    used = None if made.trial_s is None else clock.utilisation(needed, made.trial_s, device, made.precision, made.devices)
    return {
        "kind": "language", "name": spec.name, "architecture": spec.model.options.get("architecture") and _word(spec.model.options),
        "vocabulary": shape.vocabulary, "context": shape.context, "parameters_by_part": decoder.parameters(shape),
        "adapter_parameters": asked.adapter, "flops_per_token": made.flops_per_step / tokens,
        "tokens": tokens * made.steps, "corpus_tokens": asked.tokens,
        "tokens_per_parameter": tokens * made.steps / made.parameters, "mfu": used, **made.to_json(),
        "fits": memory.fits(made.memory, device.memory_bytes), "ways": [way.to_json() for way in ways],
        "best": None if best is None else best.to_json(),
        "serving": serving(shape, device, made.precision, 2 if half else 4).to_json(),
    }  # fmt: skip


def _asked(spec: Spec, runs: Path, data: Path | None) -> _Asked:
    notes: list[str] = []
    options = spec.model.options
    place = Place(spec.path.parent, data, runs / "landing")
    start = Start.find(options.get("start"), place, runs)
    known = _known(spec, runs, data)
    if start is not None:
        shape = read_architecture(start.folder).shape
    else:
        vocabulary = known["vocabulary"] if known else _vocabulary(options, notes, place)
        component = _component(options.get("architecture"), None)
        if component is None:
            component = Component("llama")
            notes.append("model.architecture is left open: a llama with its defaults is assumed.")
        shape = REGISTRIES["architecture"].create(component, vocabulary).shape
    family: Any = REGISTRIES["family"].get(spec.model.type)
    objective = REGISTRIES["objective"].create(_component(options.get("objective"), "next_token"))
    unit = "pairs" if objective.reads == "pairs" else options.get("packing", "documents")
    tokens = float(known["parts"]["train"]["tokens"]) if known else None
    training = Training(**spec.train).filled(family.training_defaults)
    if training.budget_s is not None:
        notes.append(f"train.budget ends training after {training.budget_s:,.0f} s, whatever stands here.")
    return _Asked(shape, training, unit, tokens, _adapter(options.get("adapter"), shape), notes)


def _known(spec: Spec, runs: Path, data: Path | None) -> dict[str, Any] | None:
    """What the tokens stage of an earlier run of this very file found, None without one. Reads no document."""
    if not (runs / "runs").is_dir():
        return None
    from lode.pipeline.run import work_of

    work: Work = work_of(spec)(spec, runs, data, lambda *_: None, lambda line: None)
    path = runs / "runs" / work.run.id / "run.json"
    stages = read_json(path)["stages"] if path.is_file() else {}
    return dict(stages["tokens"]["result"]) if "tokens" in stages else None


def _vocabulary(options: Any, notes: list[str], place: Place) -> int:
    """Tokens of the tokenizer that the file names; assumed where only the data, or a download, can tell."""
    component = _component(options.get("tokenizer"), "bpe")
    assert component is not None, "there is a default"
    if component.type == "characters":
        notes.append(
            f"How many characters there are only the documents can tell: {_CHARACTERS} assumed. After `lode train` it is known."
        )
        return _CHARACTERS
    if component.type == "bytes":
        return _BYTES
    if component.type == "pretrained":
        if component.options.get("revision") is None:
            return tokenizers.make(component, place).size
        notes.append("The size of a tokenizer of the hub is known once it is downloaded: 32,768 assumed.")
        return 32_768
    found = component.options.get("vocabulary", REGISTRIES["tokenizer"].signature(component.type).options["vocabulary"].default)
    return int(found)


def _judged(spec: Spec, shape: Shape) -> int:
    """Validation tokens that go forward at once, none where the file divides none off."""
    return 0 if spec.data.split.get("validation") == 0 else max(_JUDGED_TOKENS, shape.context)


def _adapter(component: Any, shape: Shape) -> int:
    """Parameters of the adapter, 0 where all weights learn."""
    found = _component(component, None)
    if found is None:
        return 0
    targets = found.options.get("targets") or ["attention", "mlp"]
    words = [word for target in targets for word in _LAYERS.get(target, (target,))]
    rank = int(found.options.get("rank", REGISTRIES["adapter"].signature(found.type).options["rank"].default))
    return decoder.adapter_parameters(shape, rank, tuple(dict.fromkeys(words)), dora=found.type == "dora")


def _batch_and_steps(asked: _Asked) -> tuple[int, int]:
    """Rows of a step and steps, as `lode/model/language/teaching.py` decides them; tokens are assumed where nobody knows them."""
    training, context = asked.training, asked.shape.context
    most = int(min(256, max(4, 2 ** int(math.log2(max(1, (1 << 15) // context))))))
    given = training.batch_tokens // context if training.batch_tokens else training.batch
    batch = given if isinstance(given, int) and given else most
    if training.steps is not None:
        return batch, training.steps
    count = sum(decoder.parameters(asked.shape).values())
    if asked.tokens is None:
        asked.notes.append(
            "How long to train only the documents can tell: 20 tokens a parameter assumed (Hoffmann 2022). Write train.steps."
        )
        return batch, max(1, round(_TOKENS_PER_PARAMETER * count / (batch * context * asked.wide)))
    passes = training.epochs or int(min(20, max(1, round(_TOKENS_PER_PARAMETER * count / asked.tokens))))
    return batch, max(1, math.ceil(asked.tokens / (context * batch * asked.wide)) * passes)


def _precision(asked: _Asked, device: Device, batch: int) -> tuple[bool, str]:
    """Whether products are in 16 bits, and the word of it; small steps stay in fp32, as in `lode/model/choices.py`."""
    wanted = asked.training.precision
    flops = batch * asked.shape.context * decoder.training_flops(asked.shape, asked.shape.context)
    if wanted == "auto" and flops < 1e9:
        return False, "fp32"
    precision = device.precision(wanted)
    return precision != "fp32", precision


def _trial(asked: _Asked, spec: Spec, batch: int) -> float:
    """Median seconds of the loop's own step here, on random tokens: a step takes as long whatever they are."""
    random, context = np.random.default_rng(0), asked.shape.context
    count = (_TRIAL_STEPS + 2) * batch * asked.wide * context + 1
    ends = np.arange(0, count, context + 1) if asked.unit == "pairs" else random.integers(1, count, 1 + 2 * count // context)
    documents = np.unique(np.r_[0, ends, count]).astype(np.int64)
    documents = documents[: 2 * ((len(documents) - 1) // 2) + 1] if asked.unit == "pairs" else documents
    size = np.uint16 if asked.shape.vocabulary < 1 << 16 else np.uint32
    tokens = random.integers(0, asked.shape.vocabulary, count).astype(size)
    family = REGISTRIES["family"].create(spec.model, shapes_of(asked.shape.vocabulary), {})
    seconds: list[float] = []

    def look(job: Job, choices: Choices, training: Training, try_steps: Callable[[int], list[float]]) -> Fitted:
        seconds.extend(try_steps(_TRIAL_STEPS + 1)[1:])
        return Fitted()

    training = Training(**{**spec.train, "batch": batch, "batch_tokens": None})
    examples = Examples(len(documents) - 1, {"tokens": tokens, "documents": documents}, None)
    family.fit(examples, None, Context(training=training, survey=look))
    return statistics.median(seconds)


def _component(value: Any, default: str | None) -> Any:
    found = default if value is None else value
    return Component(found) if isinstance(found, str) else found


def _word(options: Any) -> str | None:
    found = _component(options.get("architecture"), None)
    return None if found is None else str(found.type)
