"""What a provider's status means for the client: its own mistake goes through, everything else is ours to mend with another provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import orjson

from lode.app.contracts import RequestError
from lode.app.upstream.failure import TryError

_MAX_MESSAGE, _MAX_WORD = 2000, 100
_TOO_MANY_PAUSE_S = 1.0
"""Without a Retry-After."""
_WHY = {
    401: "refuses our key",
    402: "wants to be paid",
    403: "refuses our key",
    404: "does not know the model or the address",
}


def failure_of_status(status: int, retry_after: str | None) -> TryError:
    """A status that is not the client's fault. Providers charge nothing for it."""
    if status == 429:
        return TryError("too_many", "asks to be left alone (429)", pause_s=_seconds(retry_after, _TOO_MANY_PAUSE_S))
    if 300 <= status < 400:
        return TryError("redirect", "answered with a redirect, which is not followed")
    pause_s = _seconds(retry_after, 0.0) if status == 503 and retry_after else None
    reason = "refused" if status < 500 else "server_error"
    return TryError(reason, f"{_WHY.get(status, 'failed')} ({status})", pause_s=pause_s, is_fault=True)


def _passed_on(status: int, text: bytes, secret: str, model: str, asked: str) -> RequestError:
    """The client's own mistake, in the provider's words; of those, no key and no other name of the model."""
    message, param, word = f"the provider refuses the request ({status}).", None, "invalid_request"
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    error = found.get("error") if isinstance(found, dict) else None
    if isinstance(error, str):
        error = {"message": error}
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        message = error["message"]
        param = error["param"] if isinstance(error.get("param"), str) else None
        word = error["code"] if isinstance(error.get("code"), str) else word
    # Cleaned, then cut: a key that is cut in two would not be found.
    clean = partial(_without, secret=secret, model=model, asked=asked)
    short = None if param is None else clean(param)[:_MAX_WORD]
    return RequestError(status, clean(word)[:_MAX_WORD], clean(message)[:_MAX_MESSAGE], param=short)


passed_on: Mapping[int, Callable[[bytes, str, str, str], RequestError]] = {
    status: partial(_passed_on, status) for status in (400, 413, 422)
}
"""Status -> what makes an error of the start of the body, the key, the provider's name of the model, and ours."""


def _without(text: str, *, secret: str, model: str, asked: str) -> str:
    found = text.replace(secret, "***") if secret else text
    return found.replace(model, asked) if asked else found


def _seconds(retry_after: str | None, otherwise: float) -> float:
    """Retry-After in seconds; its other form, a date, is not used by these providers."""
    text = (retry_after or "").strip()
    try:
        found = float(text)
    except ValueError:
        return otherwise
    return found if 0 <= found < 1e6 else otherwise
