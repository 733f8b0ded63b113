"""What the model writes, for people to read, and how much of it stands word for word in the training texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lode.core.errors import DataError
from lode.data.corpus import chat, render, store
from lode.model.language.contracts import TOKENS
from lode.model.language.engine.contracts import Sampling
from lode.model.language.memorised import longest_passages
from lode.pipeline.language.contracts import Judged, Speaker
from lode.pipeline.language.figures import Corpus
from lode.pipeline.language.options import LanguageEvaluation
from lode.pipeline.language.questions import spread

_PROMPT_TOKENS = 24
_SEARCHED_TOKENS = 50_000_000


class Writer:
    """Samples of one model: continuations of texts, or answers to held-out questions beside the known ones."""

    def __init__(self, model: Speaker, judged: Judged, corpus: Corpus, options: LanguageEvaluation, reads: str) -> None:
        self.model, self.judged, self.corpus, self.options, self.reads = model, judged, corpus, options, reads

    def written(self) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        """Samples ({"prompt", "text", "how", "reference"?}) and what is known of their passages; none and None where none are wanted."""
        if not self.options.samples:
            return [], None
        samples = self._continued() if self.reads == "text" else self._answered()
        return samples, self._memorised(samples) if self.options.memorised and samples else None

    def _ways(self) -> dict[str, Sampling]:
        most = min(self.options.sample_tokens, max(1, self.model.architecture.shape.context - _PROMPT_TOKENS))
        drawn = {"greedy": 0.0, f"temperature {self.options.temperature:g}": self.options.temperature}
        return {how: Sampling(max_tokens=most, temperature=heat, seed=self.options.seed) for how, heat in drawn.items()}

    def _continued(self) -> list[dict[str, Any]]:
        prompts = self._prompts()
        return [
            {"how": how, "prompt": prompt, "text": text}
            for how, sampling in self._ways().items()
            for prompt, text in zip(prompts, self.model.generate(prompts, sampling), strict=True)
        ]

    def _prompts(self) -> list[str]:
        """Those of the file, or how held-out documents begin."""
        if self.options.prompts:
            encode = self.model.tokenizer.encode
            return [prompt for prompt in self.options.prompts if self._has_room(encode([prompt])[0])]
        corpus, decode = self.corpus, self.model.tokenizer.decode
        room = max(1, min(_PROMPT_TOKENS, self.model.architecture.shape.context // 2))
        found = []
        for document in spread(len(corpus.documents) - 1, self.options.samples):
            begin, end = corpus.documents[document : document + 2]
            found.append(decode(corpus.tokens[begin : min(begin + room, end)]))
        return [prompt for prompt in found if prompt]

    def _answered(self) -> list[dict[str, Any]]:
        texts = self.judged.texts
        if texts is None or not texts.height:
            return []
        asked = [
            conversation(row, self.judged.objective.options) for row in texts[spread(texts.height, self.options.samples)].to_dicts()
        ]
        return [
            {"how": how, "prompt": messages[-1]["content"], "text": self.model.chat(messages, sampling), "reference": reference}
            for how, sampling in self._ways().items()
            for messages, reference in asked
            if messages and self._has_room(chat.prompt(self.model.tokenizer, messages))
        ]

    def _has_room(self, prompt: np.ndarray) -> bool:
        """Whether an answer fits behind it: the report is not to fail, after the training, by one long question."""
        return len(prompt) + 1 < self.model.architecture.shape.context

    def _memorised(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The longest passage of each sample that training had, beside those of as long held-out texts: what people repeat too."""
        encode, train = self.model.tokenizer.encode, store.read(self.judged.train)[TOKENS][:_SEARCHED_TOKENS]
        own = [np.asarray(tokens) for tokens in encode([sample["text"] for sample in samples])]
        held = self._held_out([len(tokens) for tokens in own])
        passages = longest_passages([*own, *held], train)
        lengths = [passage.length for passage in passages]
        longest = int(np.argmax(lengths[: len(own)]))
        begin, size = passages[longest].begin, lengths[longest]
        return {
            "longest": [{"how": sample["how"], "tokens": length} for sample, length in zip(samples, lengths, strict=False)],
            "most": size,
            "passage": self.model.tokenizer.decode(own[longest][begin : begin + size]),
            "held_out_most": max(lengths[len(own) :], default=0),
            "searched_tokens": len(train),
        }

    def _held_out(self, lengths: Sequence[int]) -> list[np.ndarray]:
        """Pieces of held-out text, as long as the samples, evenly spaced."""
        tokens = self.corpus.tokens
        starts = np.linspace(0, max(0, len(tokens) - max(lengths, default=0)), len(lengths)).astype(int)
        return [np.asarray(tokens[start : start + length]) for start, length in zip(starts, lengths, strict=True)]


def conversation(row: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """What is asked, as messages before the last answer, and the known answer; nothing where the row asks nothing.

    options: of the objective.
    """
    prompt, messages = (_names(options.get(key)) for key in ("prompt", "messages"))
    try:
        found = render.asked(row, prompt, messages, options.get("system"))
    except DataError:
        return [], ""
    if not messages:
        answer = row.get(options.get("answer") or options.get("chosen") or "")
        return found, str(answer or "")
    last = max((place for place, item in enumerate(found) if item["role"] == "assistant"), default=len(found))
    return found[:last], str(found[last]["content"] or "") if last < len(found) else ""


def _names(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())
