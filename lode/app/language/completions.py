"""`POST /v1/completions` and `POST /v1/embeddings`: what may stand in their bodies.

Sources: https://platform.openai.com/docs/api-reference/completions/create and .../embeddings/create.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lode.app.contracts import RequestError
from lode.app.language.contracts import Asked
from lode.app.language.fields import Fields, wrong
from lode.app.language.forms import form_of
from lode.app.language.sampling import KEYS, MAX_LOGPROBS, max_tokens_of, model_of, sampling_of, stream_of
from lode.app.validate import describe

COMPLETION_KEYS = (*KEYS, "prompt", "echo", "best_of", "suffix")
_DEFAULT_TOKENS = 16
"""OpenAI's: an unbounded continuation of a base model rarely ends by itself."""
_MAX_PROMPTS = 1024

EMBEDDING_KEYS = ("model", "input", "encoding_format", "dimensions", "user")
_MAX_INPUTS = 2048


def read_completion(fields: Fields, vocabulary: int, most: int) -> Asked:
    """most: continuations that one request may ask for. Errors: RequestError 400."""
    fields.only(COMPLETION_KEYS)
    model = model_of(fields)
    if fields.any("suffix"):
        raise RequestError(
            400, "unsupported_parameter", "suffix: not supported: the model was not taught to fill gaps.", param="suffix"
        )
    count = fields.integer("n", 1, most, 1) or 1
    best = fields.integer("best_of", 1, most, count)
    if best != count:
        raise RequestError(400, "unsupported_parameter", "best_of: not supported: ask for n and choose.", param="best_of")
    prompts = _prompts(fields, vocabulary)
    if len(prompts) * count > most:
        raise wrong("n", f"{count:,} for each of {len(prompts):,} prompts", f"{most:,} continuations in all")
    logprobs = fields.integer("logprobs", 0, MAX_LOGPROBS)
    echo = fields.flag("echo")
    if echo and logprobs is not None:
        text = "echo: not supported with logprobs: those of the prompt are not kept. `lode evaluate` has them."
        raise RequestError(400, "unsupported_parameter", text, param="echo")
    stream, with_usage = stream_of(fields)
    return Asked(
        model=model,
        sampling=sampling_of(fields, vocabulary, logprobs),
        max_tokens=max_tokens_of(fields) or _DEFAULT_TOKENS,
        count=count,
        stream=stream,
        with_usage=with_usage,
        prompts=prompts,
        form=form_of(fields),
        echo=echo,
    )


def _prompts(fields: Fields, vocabulary: int) -> list[str | list[int]]:
    """A text, a list of texts, tokens, or a list of tokens."""
    value = fields.any("prompt")
    if value is None:
        raise RequestError(400, "missing_parameter", "prompt: found nothing, allowed: a text.", param="prompt")
    if type(value) is str:
        return [value]
    if type(value) is not list or not value:
        raise wrong("prompt", describe(value), "a text, token ids, or a list of either", "invalid_type")
    if all(type(item) is int for item in value):
        return [_tokens(value, "prompt", vocabulary)]
    if len(value) > _MAX_PROMPTS:
        raise wrong("prompt", f"{len(value):,} of them", f"at most {_MAX_PROMPTS:,}")
    prompts: list[str | list[int]] = []
    for number, item in enumerate(value):
        if isinstance(item, str):
            prompts.append(item)
        elif isinstance(item, list) and item:
            prompts.append(_tokens(item, f"prompt[{number}]", vocabulary))
        else:
            raise wrong(f"prompt[{number}]", describe(item), "a text or token ids", "invalid_type")
    return prompts


def _tokens(value: list[Any], path: str, vocabulary: int) -> list[int]:
    for token in value:
        if type(token) is not int or not 0 <= token < vocabulary:
            raise wrong(path, describe(token), f"token ids from 0 to {vocabulary - 1:,}")
    return value


@dataclass(frozen=True, slots=True)
class ToEmbed:
    """A request for vectors that was read and found good."""

    model: str
    texts: Sequence[str]
    encoding: Literal["float", "base64"]


def read_embeddings(fields: Fields) -> ToEmbed:
    """Errors: RequestError 400."""
    fields.only(EMBEDDING_KEYS)
    model = model_of(fields)
    value = fields.any("input")
    if value is None:
        raise RequestError(400, "missing_parameter", "input: found nothing, allowed: a text or a list of texts.", param="input")
    texts = [value] if type(value) is str else fields.items("input", _MAX_INPUTS) or []
    for number, text in enumerate(texts):
        if type(text) is not str:
            allowed = "a text (token ids are those of another tokenizer, most likely)"
            raise wrong(f"input[{number}]", describe(text), allowed, "invalid_type")
    if not texts or not all(texts):
        raise wrong("input", "an empty text" if texts else "an empty list", "texts that are not empty")
    if "dimensions" in fields:
        text = "dimensions: not supported: the model's vectors have one length."
        raise RequestError(400, "unsupported_parameter", text, param="dimensions")
    encoding: Literal["float", "base64"] = (
        "base64" if fields.word("encoding_format", ("float", "base64"), "float") == "base64" else "float"
    )
    return ToEmbed(model, texts, encoding)
