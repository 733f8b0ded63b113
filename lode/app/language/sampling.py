"""How tokens are drawn, as OpenAI's requests say it, and as others added to it (top_k, min_p, repetition_penalty)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from lode.app.contracts import RequestError
from lode.app.language.fields import Fields, wrong
from lode.app.validate import describe, short
from lode.model.language.engine.contracts import Sampling

KEYS = (
    *("model", "n", "stream", "stream_options", "max_tokens", "temperature", "top_p", "seed", "stop", "presence_penalty"),
    *("frequency_penalty", "logit_bias", "user", "top_k", "min_p", "repetition_penalty", "ignore_eos", "logprobs"),
    *("guided_json", "guided_regex", "guided_choice"),
)
"""Keys of both endpoints. `user` says who the end user is; it changes nothing."""

MAX_LOGPROBS = 20
_MAX_STOPS = 16
_MAX_STOP_CHARACTERS = 256
_MAX_BIASES = 1024
_MAX_TOKENS = 1 << 40
_INT64 = 2**63 - 1
_MAX_NAME = 512


def model_of(fields: Fields) -> str:
    """The model that is asked for. Errors: RequestError 400 where none is."""
    name = fields.text("model", _MAX_NAME)
    if name is None:
        raise RequestError(400, "missing_parameter", "model: not given. Name one of GET /v1/models.", param="model")
    return name


def sampling_of(fields: Fields, vocabulary: int, logprobs: int | None) -> Sampling:
    """Errors: RequestError 400."""
    top_p = fields.number("top_p", 0.0, 1.0, 1.0)
    top_k = fields.integer("top_k", -1, _INT64, 0) or 0
    return Sampling(
        temperature=fields.number("temperature", 0.0, 2.0, 1.0),
        # At 0 only the likeliest token is left, whatever its share.
        top_p=top_p or 1.0,
        top_k=1 if top_p == 0.0 else min(max(top_k, 0), vocabulary),
        min_p=fields.number("min_p", 0.0, 1.0, 0.0),
        repetition_penalty=fields.number("repetition_penalty", 0.01, 100.0, 1.0),
        presence_penalty=fields.number("presence_penalty", -2.0, 2.0, 0.0),
        frequency_penalty=fields.number("frequency_penalty", -2.0, 2.0, 0.0),
        logit_bias=_biases(fields, vocabulary),
        seed=fields.integer("seed", -_INT64, _INT64),
        logprobs=logprobs,
        stop=_stops(fields),
        ignore_end=fields.flag("ignore_eos"),
    )


def max_tokens_of(fields: Fields) -> int | None:
    """The most tokens of an answer; None where nothing is said."""
    old = fields.integer("max_tokens", 1, _MAX_TOKENS)
    new = fields.integer("max_completion_tokens", 1, _MAX_TOKENS)
    if old is not None and new is not None and old != new:
        raise wrong("max_tokens", f"{old:,} beside max_completion_tokens {new:,}", "one of the two")
    return old if new is None else new


def stream_of(fields: Fields) -> tuple[bool, bool]:
    """Whether the answer is streamed, and whether usage ends the stream."""
    stream = fields.flag("stream")
    inner = fields.inner("stream_options")
    if inner is None:
        return stream, False
    if not stream:
        raise wrong("stream_options", "it without stream", "it with stream: true")
    inner.only(("include_usage", "include_obfuscation"))
    if inner.flag("include_obfuscation"):
        raise RequestError(
            400, "unsupported_parameter", "stream_options.include_obfuscation: not supported: chunks are sent as they are."
        )
    return stream, inner.flag("include_usage")


def nth(sampling: Sampling, number: int) -> Sampling:
    """The sampling of one of several choices: with a seed, each has its own that follows from it; the first has it as it is."""
    if sampling.seed is None:
        return sampling
    if number == 0:
        return replace(sampling, seed=sampling.seed & _INT64)
    mixed = hashlib.sha256(f"{sampling.seed}:{number}".encode()).digest()
    return replace(sampling, seed=int.from_bytes(mixed[:8], "little") & _INT64)


def _stops(fields: Fields) -> tuple[str, ...]:
    value = fields.any("stop")
    if value is None:
        return ()
    texts = [value] if type(value) is str else fields.items("stop", _MAX_STOPS) or []
    for text in texts:
        if type(text) is not str:
            raise wrong("stop", describe(text), "a text, or a list of texts", "invalid_type")
        if not text or len(text) > _MAX_STOP_CHARACTERS:
            raise wrong("stop", f"a text of {len(text):,} characters", f"1 to {_MAX_STOP_CHARACTERS} characters")
    return tuple(dict.fromkeys(texts))


def _biases(fields: Fields, vocabulary: int) -> Mapping[int, float]:
    inner = fields.inner("logit_bias")
    if inner is None:
        return {}
    record = fields.any("logit_bias")
    if len(record) > _MAX_BIASES:
        raise wrong("logit_bias", f"{len(record):,} tokens", f"at most {_MAX_BIASES:,}")
    biases = {}
    for word in record:
        if not (word.isascii() and word.isdigit() and len(word) <= 10 and int(word) < vocabulary):
            raise wrong("logit_bias", f'"{short(word)}"', f"token ids from 0 to {vocabulary - 1:,}")
        biases[int(word)] = inner.number(word, -100.0, 100.0, 0.0)
    return biases
