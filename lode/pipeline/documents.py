"""The work on documents: data -> tokens -> train -> evaluate -> package. Read `lode/pipeline/work.py` first.

What a language model learns from is named by its objective's columns; the tokens stage learns the tokenizer from the training documents
and writes every split as token files that the training maps into memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.signature import OptionType
from lode.core.spec import InputSpec, OutputSpec
from lode.core.types import Component
from lode.data import snapshot as snapshots
from lode.data.corpus import render, store, tokenizers
from lode.data.corpus.contracts import Tokenizer
from lode.data.split import PARTS
from lode.model import launch
from lode.model.contracts import Context, Examples, Fitted
from lode.pipeline import forecasts, train
from lode.pipeline.artifact import canonical
from lode.pipeline.language.contracts import Judged
from lode.pipeline.language.evaluate import evaluate
from lode.pipeline.language.model import LanguageModel, read, shapes_of
from lode.pipeline.language.options import LanguageEvaluation
from lode.pipeline.language.report import render as render_report
from lode.pipeline.language.start import Start, tokenizer_hash
from lode.pipeline.manifest import Manifest
from lode.pipeline.work import Stage, Work

_TEXT = Component("text", {"join": "\n", "nested": "json"})
_TEXT_COLUMN = "text"
"""Read where an objective names no column; what the sources of texts call theirs."""
_BATCH_ROWS = 8192
_MODEL = "language"
"""The folder of the model among the train stage's `models`."""


class DocumentsWork(Work):
    """Documents -> tokens -> a decoder, judged beside n-gram models -> artifact."""

    stages: ClassVar[tuple[Stage, ...]] = ("data", "tokens", "train", "evaluate", "package")

    def prepare(self) -> None:
        spec = self.spec
        self.evaluation = LanguageEvaluation(**spec.evaluate)
        registry = REGISTRIES["family"]
        self.objective = _component(
            spec.model.options.get("objective"), registry.signature(spec.model.type).options["objective"].default
        )
        # Made here, so that options that contradict one another are told at once.
        self.reads: str = REGISTRIES["objective"].create(self.objective).reads
        self.start = Start.find(spec.model.options.get("start"), self.place, self.runs)
        self.benchmarks = [REGISTRIES["benchmark"].create(item, self.place) for item in self.evaluation.tasks or ()]
        # Read now: a file that is missing is told before hours are spent.
        self.questions = [benchmark.fingerprint() for benchmark in self.benchmarks]

    def columns(self) -> tuple[Sequence[InputSpec] | None, Sequence[OutputSpec], Mapping[str, str]]:
        """The columns that the objective names, as whole texts."""
        inputs = tuple(InputSpec(name, _TEXT) for name in columns_of(self.objective))
        return inputs, (), dict.fromkeys(self.evaluation.slices or (), "evaluate.slices")

    def _tokens(self) -> tuple[Path, Manifest]:
        """Training documents -> tokenizer; documents of every split -> token files."""
        data = self.run.folders["data"]
        resolved = canonical(self.resolved["model"])
        inputs = {
            "snapshot": self.run.manifests["data"].result["content_hash"], "tokenizer": resolved.get("tokenizer"),
            "objective": _read_by_data(self.objective),
            "packing": resolved["packing"], "separator": resolved["separator"],
            "start": None if self.start is None else self.start.tokenizer_hash, "files": self._tokenizer_files(),
        }  # fmt: skip

        def work(folder: Path) -> Mapping[str, Any]:
            tokenizer = self._tokenizer(data)
            # Documents that are packed begin anew anyway.
            separator = resolved["separator"] if resolved["packing"] == "stream" else None
            abouts: dict[str, Any] = {}
            for part in PARTS:
                rows = int(snapshots.scan(data, part).select(pl.len()).collect().item())
                if rows:
                    batches = _batches(snapshots.scan(data, part))
                    abouts[part] = store.write(
                        tokenizer, self.objective, batches, folder / part, self.progress, separator=separator
                    )
            if not abouts.get("train", {}).get("learned_tokens"):
                raise DataError("data: no training document has a token to learn. Check the objective's columns and the cleaners.")
            (folder / "tokenizer").mkdir(exist_ok=True)
            tokenizer.save(folder / "tokenizer")
            return {"vocabulary": tokenizer.size, "parts": abouts, "notes": _notes(tokenizer.size, abouts)}

        return self._perform("tokens", inputs, {"data": self.run.manifests["data"].key}, 0, work)

    def _train(self) -> tuple[Path, Manifest]:
        """Token files -> a decoder in its best state."""
        run, tokens = self.run, self.run.folders["tokens"]
        device = train.default_device(self.training.device)
        inputs = {
            "model": {**canonical(self.resolved["model"]), "tokenizer": None}, "train": self.resolved["train"], "device": device,
            "start": None if self.start is None else self.start.hash,
        }  # fmt: skip

        def work(folder: Path) -> Mapping[str, Any]:
            about = run.manifests["tokens"].result
            counts = about["parts"]["train"]
            self.say(f"train: {counts['tokens']:,} tokens of {counts['documents']:,} documents, vocabulary {about['vocabulary']:,}")
            made = launch.Made(self._located(), shapes_of(about["vocabulary"]), {})
            family = REGISTRIES["family"].create(made.family, made.shapes, {})
            context = Context(
                seed=self.training.seed, folder=folder / ".scratch", device=device, training=self.training, progress=self.progress,
                deadline_s=self.training.budget_s, log_folder=run.runs / "runs" / run.id / "logs",
                survey=forecasts.before(folder),
            )  # fmt: skip
            begun_s, examples = time.monotonic(), _examples(tokens / "train")
            assert examples is not None, "a run without a training token ends with its token files"
            fitted = launch.fit(family, made, examples, _examples(tokens / "validation"), context)
            seconds = time.monotonic() - begun_s
            model = LanguageModel(family, tokenizers.load(tokens / "tokenizer"), self._recipe())
            place = folder / "models" / _MODEL
            digest = model.save(place)
            model.keep_parity(store.read(tokens / self._held_out())["tokens"], place)
            return self._result(model, fitted, digest, seconds, forecasts.read(folder))

        return self._perform("train", inputs, {"tokens": run.manifests["tokens"].key}, self.training.seed, work)

    def _evaluate(self) -> tuple[Path, Manifest]:
        """Held-out tokens -> loss with intervals beside n-gram models, questions, samples, report."""
        run = self.run
        inputs = {
            "name": self.spec.name, "evaluate": self.resolved["evaluate"], "packing": self.resolved["model"]["packing"],
            "questions": self.questions,
        }  # fmt: skip
        parents = {name: run.manifests[name].key for name in ("data", "tokens", "train")}

        def work(folder: Path) -> Mapping[str, Any]:
            device = train.default_device(self.training.device)
            model, start = read(run.folders["train"] / "models" / _MODEL).move(device), self._started()
            model.name = self.spec.name
            part = self._held_out()
            judged = Judged(
                split=part, tokens=run.folders["tokens"] / part, train=run.folders["tokens"] / "train", objective=self.objective,
                packing=self.resolved["model"]["packing"], texts=snapshots.read(run.folders["data"], part),
                start=None if start is None else start.move(device),
            )  # fmt: skip
            report = evaluate(model, judged, self.evaluation, self._facts(), self.benchmarks, self.progress)
            render_report(report, folder)
            return {"headline": report["headline"]}

        return self._perform("evaluate", inputs, parents, self.evaluation.seed, work)

    def _package(self) -> tuple[Path, Manifest]:
        """The model -> a versioned artifact that passed its parity check, in the catalogue."""
        return self._packaged(("data", "tokens", "train", "evaluate"))

    def _tokenizer(self, data: Path) -> Tokenizer:
        """Of the model that training starts from, else learned from the training documents."""
        if self.start is not None and "tokenizer" not in self.spec.model.options:
            return tokenizers.load(self.start.folder)
        made = tokenizers.make(_component(self.spec.model.options.get("tokenizer"), self._default("tokenizer")), self.place)
        self.progress("tokenizer", 0, 0, {})
        made.fit(render.texts(self.objective, _batches(snapshots.scan(data, "train"))))
        return made

    def _tokenizer_files(self) -> str | None:
        """Hash of the files that the tokenizer option names; None where it names none (a revision of the hub never changes)."""
        options = _component(self.spec.model.options.get("tokenizer"), self._default("tokenizer")).options
        path = options.get("path")
        return None if path is None or options.get("revision") is not None else tokenizer_hash(self.place.resolve(str(path)))

    def _default(self, option: str) -> Any:
        return REGISTRIES["family"].signature(self.spec.model.type).options[option].default

    def _located(self) -> Component:
        """The `model:` section with the place of what it starts from."""
        options = {name: value for name, value in self.spec.model.options.items() if name != "start"}
        return Component(self.spec.model.type, options | ({} if self.start is None else {"start": str(self.start.folder)}))

    def _recipe(self) -> dict[str, Any]:
        """See `LanguageModel.recipe`."""
        model = canonical({**self.resolved["model"], "start": None})
        started = {} if self.start is None else {"start": {"name": Path(self.start.name).name, "hash": self.start.hash}}
        columns = list(prompt_columns(self.objective))
        return {
            "model": model,
            "objective": canonical(self.objective.to_json()),
            "reads": self.reads,
            "columns": columns,
            **started,
        }

    def _held_out(self) -> str:
        """The part that the model is judged on: the test split, else validation, else what it learned from."""
        parts = self.run.manifests["tokens"].result["parts"]
        return next(part for part in ("test", "validation", "train") if part in parts and parts[part]["tokens"])

    def _started(self) -> LanguageModel | None:
        """The model that training started from, in its own words."""
        if self.start is None:
            return None
        if self.start.artifact is not None:
            return read(self.start.artifact)
        family = REGISTRIES["family"].create(Component(self.spec.model.type), shapes_of(self._vocabulary), {})
        family.load(self.start.folder)
        tokenizer = tokenizers.load(self.run.folders["tokens"] / "tokenizer")
        return LanguageModel(family, tokenizer, self._recipe(), name=self.start.name)

    @property
    def _vocabulary(self) -> int:
        return int(self.run.manifests["tokens"].result["vocabulary"])

    def _result(
        self, model: LanguageModel, fitted: Fitted, digest: str, seconds: float, forecast: dict[str, Any] | None
    ) -> dict[str, Any]:
        """The train stage's result, in the form that all train stages have."""
        fit = {
            "seconds": round(seconds, 3),
            "rounds": fitted.rounds,
            "history": list(fitted.history),
            "choices": dict(fitted.choices),
        }
        fit["forecast"] = forecast
        record = {"hash": digest, "seconds_per_1000": None, "fits": [fit], "cost": asdict(model.cost())}
        row = {"candidate": _MODEL, "chosen": True, "recommended": True, "allowed": True, "reason": "the file asks for it"}
        return {"chosen": _MODEL, "table": [row], "metric": "loss", "models": {_MODEL: record}, "vocabulary": self._vocabulary}

    def _facts(self) -> dict[str, Any]:
        """What the report shows beside the held-out figures."""
        run = self.run
        data, tokens, trained = (run.manifests[name] for name in ("data", "tokens", "train"))
        record = trained.result["models"][_MODEL]
        return {
            "name": self.spec.name, "run": run.id, "rows": data.result["rows"],
            "notes": [*data.result["notes"], *tokens.result["notes"], *self._warnings()], "corpus": tokens.result["parts"],
            "vocabulary": tokens.result["vocabulary"], "history": record["fits"][0]["history"], "choices": record["fits"][0]["choices"],
            "cost": record["cost"], "training_seconds": record["fits"][0]["seconds"],
            "seconds": {"data": data.seconds, "tokens": tokens.seconds, "train": trained.seconds},
            "peak_memory_bytes": {name: run.manifests[name].peak_memory_bytes for name in ("data", "tokens", "train")},
            "hardware": trained.hardware, "versions": trained.versions, "raw": data.result["raw"],
            "forecast": forecasts.reconciled(record["fits"][0], record["cost"]["parameters"], trained.peak_memory_bytes),
        }  # fmt: skip


def columns_of(objective: Component) -> tuple[str, ...]:
    """The columns that an objective names, in the order of its options, defaults too."""
    options = REGISTRIES["objective"].signature(objective.type).options
    found: list[str] = []
    for name, option in options.items():
        value = objective.options.get(name, None if option.required else option.default)
        if value is not None and _is_column(option.type):
            found += [value] if isinstance(value, str) else list(value)
    return tuple(dict.fromkeys(found)) or (_TEXT_COLUMN,)


def prompt_columns(objective: Component) -> tuple[str, ...]:
    """The columns that a model which was taught so is asked with."""
    options = objective.options
    asked = options.get("prompt") or options.get("messages") or columns_of(objective)
    return (asked,) if isinstance(asked, str) else tuple(asked)


def _read_by_data(objective: Component) -> dict[str, Any]:
    """What of an objective decides its tokens: the columns and the system message, not the loss."""
    options = {name: value for name, value in objective.options.items() if name == "system"}
    return {"type": objective.type, "columns": list(columns_of(objective)), **options}


def _is_column(kind: OptionType) -> bool:
    return kind.name == "ColumnName" or any(_is_column(item) for item in kind.items)


def _component(value: Any, default: Any) -> Component:
    """A nested component as the file has it: a word alone, a Component, or left open."""
    found = default if value is None else value
    return found if isinstance(found, Component) else Component(str(found))


def _batches(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """A part of the snapshot, some thousand rows at a time."""
    yield from rows.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True)


def _examples(folder: Path) -> Examples | None:
    """The token files of a part, mapped into memory; None where the part is empty."""
    if not (folder / "about.json").is_file():
        return None
    arrays = store.read(folder)
    return Examples(len(arrays["documents"]) - 1, arrays, None)


def _notes(vocabulary: int, abouts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    train = abouts["train"]
    per_token = train["bytes"] / max(1, train["tokens"])
    counts = f"{train['tokens']:,} tokens of {train['documents']:,} training documents"
    lines = [f"tokens: {counts}, {vocabulary:,} different ones, {per_token:.2f} bytes each."]
    for part, about in abouts.items():
        if about["unknown_tokens"]:
            count = f"{about['unknown_tokens']:,} tokens of {part}"
            lines.append(f"tokens: {count} are unknown to the tokenizer, which makes them easy to guess.")
        lines += [f"tokens: {count:,} rows of {part} gave no document: {reason}." for reason, count in about["rejected"].items()]
    return lines
