"""A language model of lode as lm-evaluation-harness wants it (lm-eval >= 0.4.9), which brings thousands of published tasks.

    import lm_eval, lode
    from lode.pipeline.language.harness import HarnessModel

    found = lm_eval.simple_evaluate(model=HarnessModel(lode.load("NAME")), tasks=["hellaswag"], limit=100)

The extra `harness` brings it, and a hundred packages with it; nothing in lode imports this file. Interface: lm_eval/api/model.py.
Tasks are asked as plain text: the harness would hand a chat template over as text, in which lode reads no special token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from lode.core import packages
from lode.model.language.engine.contracts import Sampling
from lode.model.language.scoring import nats_of_document, told
from lode.pipeline.language.contracts import Speaker

try:
    from lm_eval.api.model import LM
except ModuleNotFoundError as error:
    raise packages.missing("lm-evaluation-harness", error) from error

_MAX_TOKENS = 256
"""Of an answer, where a task does not say (the harness's own default)."""


class Asked(Protocol):
    """What the harness calls an Instance."""

    @property
    def args(self) -> tuple[Any, ...]: ...


class HarnessModel(LM):  # type: ignore[misc]
    """Answers the three kinds of requests; texts that are longer than the context lose their beginning."""

    def __init__(self, model: Speaker) -> None:
        super().__init__()
        self.model = model
        self.context = int(model.architecture.shape.context)

    def loglikelihood(self, requests: Sequence[Asked], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Of each (context, continuation): log-probability of the continuation, and whether greedy decoding would say it."""
        pairs = [self._pair(*request.args) for request in requests]
        pieces = [np.concatenate(pair)[-(self.context + 1) :] for pair in pairs]
        found = []
        for (_, own), item in zip(pairs, told(self.model.decoder, pieces), strict=True):
            kept = slice(len(item.nats) - min(len(own), len(item.nats)), None)
            found.append((-float(item.nats[kept].sum(dtype=np.float64)), bool(item.first[kept].all())))
        return found

    def loglikelihood_rolling(self, requests: Sequence[Asked], disable_tqdm: bool = False) -> list[float]:
        """Of each (text,): log-probability of all of it, in windows of the whole context."""
        found = []
        for request in requests:
            tokens = np.concatenate((self._begin(), self._tokens(request.args[0])))
            nats = nats_of_document(self.model.decoder, tokens, self.context, self.context)
            found.append(-float(np.nansum(nats, dtype=np.float64)))
        return found

    def generate_until(self, requests: Sequence[Asked], disable_tqdm: bool = False) -> list[str]:
        """Of each (context, options): what the model goes on with, up to one of the words in `until`."""
        return [self._generated(*request.args) for request in requests]

    def _generated(self, text: str, options: Mapping[str, Any]) -> str:
        until = options.get("until") or ()
        most = min(int(options.get("max_gen_toks", _MAX_TOKENS)), max(1, self.context // 2))
        heat = float(options.get("temperature", 0.0)) if options.get("do_sample") else 0.0
        stop = (until,) if isinstance(until, str) else tuple(word for word in until if word)
        sampling = Sampling(max_tokens=most, temperature=heat, stop=stop, seed=0)
        kept = self._tokens(text)[-(self.context - most) :]
        return self.model.generate([self.model.tokenizer.decode(kept)], sampling)[0]

    def _pair(self, before: str, continuation: str) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of both; blanks between them belong to the continuation, as in training."""
        words = before.rstrip()
        own = self.model.tokenizer.encode([before[len(words) :] + continuation], inside=True)[0].astype(np.int64)
        return (self._tokens(words) if words else self._begin()), own

    def _tokens(self, text: str) -> np.ndarray:
        return self.model.tokenizer.encode([text])[0].astype(np.int64)

    def _begin(self) -> np.ndarray:
        """What stands before a text: the token that begins one, or ended the one before; nothing where there is neither."""
        tokenizer = self.model.tokenizer
        mark = tokenizer.begin if tokenizer.begin is not None else tokenizer.end
        return np.array([] if mark is None else [mark], np.int64)
