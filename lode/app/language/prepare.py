"""From a request that was read to sequences for the engine: which model, which tokens, how many may follow, in which form."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lode.app.contracts import RequestError
from lode.app.language.contracts import Asked, Form, Speaks
from lode.app.language.pieces import Pieces
from lode.app.language.sampling import nth
from lode.app.validate import short
from lode.core import packages
from lode.core.errors import DataError, MissingPackageError, listed, near_miss
from lode.data.corpus import chat
from lode.model.language.engine.contracts import Request, Sampling

if TYPE_CHECKING:
    from lode.app.language.grammar import Grammars, Matcher

_THREAD_CHARACTERS = 1 << 14
"""Prompts from this size on are cut into tokens in a thread, so that other requests need not wait for it."""
_SHRINK = 4
"""A normaliser may make a text shorter, but not by more than this."""


class Preparer:
    """Knows the model's tokenizer, its context and its adapters."""

    def __init__(self, model: Speaks, pieces: Pieces, adapters: Sequence[str]):
        self._model = model
        self._pieces = pieces
        self._adapters = tuple(adapters)
        self._longest = max(map(len, pieces.all), default=1)
        self._lock = threading.Lock()
        self._grammars: Grammars | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What a request may name: the model, and each of its adapters."""
        return (self._model.name, *self._adapters)

    def adapter(self, name: str) -> str | None:
        """The adapter that a request means; None for the model itself. Errors: RequestError 404 with the near miss."""
        if name == self._model.name:
            return None
        if name in self._adapters:
            return name
        hint = near_miss(name, self.names) if len(name) <= 200 else ""
        text = f'model: found "{short(name)}", allowed: {listed(self.names)}.{hint}'
        raise RequestError(404, "model_not_found", text, param="model")

    async def requests(self, asked: Asked, id: str, salt: str) -> list[Request]:
        """One sequence for each choice of each prompt, prompts first. Errors: RequestError 400 and 404."""
        adapter = self.adapter(asked.model)
        prompts = await self._in_thread(asked)
        grammars = await asyncio.to_thread(self._forms, asked.form, len(prompts) * asked.count) if asked.form else []
        made: list[Request] = []
        for prompt in prompts:
            sampling = self._sampling(asked, len(prompt))
            for _ in range(asked.count):
                number = len(made)
                made.append(
                    Request(
                        id=f"{id}-{number}",
                        tokens=prompt,
                        sampling=nth(sampling, number),
                        adapter=adapter,
                        grammar=grammars[number] if grammars else None,
                        salt=salt,
                    )
                )
        return made

    def tokens(self, text: str, param: str) -> list[int]:
        """The tokens of a text as a model begins with it. Errors: RequestError 400 for far too long a text."""
        self._check_size(len(text.encode()), param)
        tokenizer = self._model.tokenizer
        found = [int(token) for token in tokenizer.encode([text])[0]]
        if tokenizer.begin is not None:
            found.insert(0, tokenizer.begin)
        if not found:
            if tokenizer.end is None:
                raise RequestError(
                    400, "invalid_value", f"{param}: found an empty text, and the model has no token to begin with.", param=param
                )
            # Nothing to go on from: as after the end of a document, so a new one begins.
            found.append(tokenizer.end)
        return found

    async def _in_thread(self, asked: Asked) -> list[list[int]]:
        size = sum(map(len, asked.prompts)) + sum(len(str(part)) for part in (*asked.messages, *asked.tools))
        return self._prompts(asked) if size < _THREAD_CHARACTERS else await asyncio.to_thread(self._prompts, asked)

    def _prompts(self, asked: Asked) -> list[list[int]]:
        if asked.messages:
            return [self._chat(asked)]
        return [self.tokens(prompt, "prompt") if isinstance(prompt, str) else list(prompt) for prompt in asked.prompts]

    def _chat(self, asked: Asked) -> list[int]:
        tokenizer = self._model.tokenizer
        if tokenizer.template is None:
            raise RequestError(
                400,
                "no_chat_template",
                f"messages: {self._model.name} has no chat template. Use /v1/completions.",
                param="messages",
            )
        if asked.tools and "tools" not in tokenizer.template:
            raise RequestError(
                400,
                "unsupported_parameter",
                "tools: not supported: the model's chat template has no place for them.",
                param="tools",
            )
        self._check_size(sum(len((message["content"] or "").encode()) for message in asked.messages), "messages")
        try:
            return [int(token) for token in chat.prompt(tokenizer, asked.messages, asked.tools or None)]
        except DataError as error:
            raise RequestError(400, "invalid_value", str(error), param="messages") from None

    def _sampling(self, asked: Asked, length: int) -> Sampling:
        """With as many tokens as the context has room for, where nothing is said. Errors: RequestError 400 with the counts."""
        context, param = self._model.context, "messages" if asked.messages else "prompt"
        wanted = asked.max_tokens or 1
        if length + wanted > context:
            answer = f" and {wanted:,} for the answer, {length + wanted:,} in all" if asked.max_tokens else ""
            tokens = f"{length:,} token{'s' * (length != 1)}"
            text = f"{param}: found {tokens} in the prompt{answer}, the model's context has {context:,}. "
            advice = "Shorten the prompt, or ask for fewer tokens." if asked.max_tokens else "Shorten the prompt."
            raise RequestError(400, "context_length_exceeded", text + advice, param=param)
        stops = () if asked.sampling.ignore_end else self._model.tokenizer.stops
        return replace(asked.sampling, max_tokens=asked.max_tokens or context - length, stop_tokens=stops)

    def _check_size(self, num_bytes: int, param: str) -> None:
        """Refuse without cutting what could not fit whatever its tokens were."""
        least = num_bytes // (self._longest * _SHRINK)
        if least > self._model.context:
            found = f"{param}: found {num_bytes:,} bytes, at least {least:,} tokens"
            text = f"{found}, the model's context has {self._model.context:,}. Shorten it."
            raise RequestError(400, "context_length_exceeded", text, param=param)

    def _forms(self, form: Form, count: int) -> list[Matcher]:
        """In a thread. Errors: RequestError 400."""
        with self._lock:
            if self._grammars is None:
                self._grammars = self._make(form)
        return self._grammars.of(form, count)

    def _make(self, form: Form) -> Grammars:
        try:
            from lode.app.language.grammar import Grammars
        except ModuleNotFoundError as error:
            missing: MissingPackageError = packages.missing(form.param, error)
            raise RequestError(400, "unsupported_parameter", f"not supported by this server. {missing}", param=form.param) from None
        return Grammars(self._model.tokenizer, self._pieces)
