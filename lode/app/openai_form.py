"""OpenAI's form of events and errors, whoever made the answer: https://platform.openai.com/docs/api-reference/chat/streaming."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from lode.app.contracts import RequestError

DONE = b"data: [DONE]\n\n"
SSE_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


def event(record: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(record) + b"\n\n"


def error_record(failure: RequestError) -> dict[str, Any]:
    """OpenAI's form of an error."""
    kinds = {401: "authentication_error", 403: "permission_error", 408: "timeout_error", 429: "rate_limit_error"}
    kind = kinds.get(failure.status, "server_error" if failure.status >= 500 else "invalid_request_error")
    code = "invalid_api_key" if failure.status == 401 else failure.type
    return {"error": {"message": failure.message, "type": kind, "param": failure.param, "code": code}}
