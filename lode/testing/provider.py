"""A make-believe provider of models on this machine: OpenAI's endpoints and the Open Inference Protocol, which can be told to misbehave.

For tests, recipes without a network, and benchmarks. `python -m lode.testing.provider --port 9100` starts one; its answers are the words
`one two three ...`, a token is a word. It keeps account of what it would charge: GET /usage.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
PRICES = {"input": 150_000, "cached": 75_000, "output": 600_000}
"""What a token costs, in 10^-12: 0.15, 0.075 and 0.60 for a million."""
HUGE_BYTES = 8 << 20
HANG_S = 3600.0
_STATUSES = {"400": 400, "401": 401, "404": 404, "422": 422, "429": 429, "500": 500, "503": 503}
_FREE = (*_STATUSES, "redirect")


@dataclass
class Provider:
    """One make-believe provider, in a thread of its own. The first items of `script` say how the next requests are treated; then `usual`.

    ok, no_usage, slow (half a second), hang, drop (charged, then not a byte), cut (half of the answer), garbage, huge, gzip, redirect,
    400, 401, 404, 422, 429, 500, 503; of streams also hang_after, cut_after, error_after, no_end (closed without [DONE]).
    delay_s: before every answer. cached: how many tokens of each prompt it says were cached. event_s: between two
    events of a stream. padding: bytes that each event has more. quotes: whether it quotes the key where it refuses.
    """

    usual: str = "ok"
    delay_s: float = 0.0
    cached: int = 0
    event_s: float = 0.0
    padding: int = 0
    retry_after: str | None = "7"
    script: list[str] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    charged: list[dict[str, Any]] = field(default_factory=list)
    hung_up: int = 0
    sent_bytes: int = 0
    port: int = 0
    keeps_account: bool = True
    quotes: bool = False

    def start(self, port: int = 0) -> Provider:
        """Listen on a free port."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self.client, "127.0.0.1", port), self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def stop(self) -> None:
        """Close everything."""

        async def close() -> None:
            self._server.close()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        """Its address for OpenAI's protocol."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def rows_url(self) -> str:
        """Its address for the Open Inference Protocol."""
        return f"http://127.0.0.1:{self.port}/v2"

    def usage(self) -> list[dict[str, Any]]:
        """What it charges, per day and model, as providers export it."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for item in self.charged:
            row = found.setdefault((item["date"], item["model"]), {"date": item["date"], "model": item["model"], "requests": 0})
            row["requests"] += 1
            for word in ("input_tokens", "cached_tokens", "output_tokens", "rows"):
                row[word] = row.get(word, 0) + item[word]
        for row in found.values():
            plain = row["input_tokens"] - row["cached_tokens"]
            pico = plain * PRICES["input"] + row["cached_tokens"] * PRICES["cached"] + row["output_tokens"] * PRICES["output"]
            row |= {"cost": f"{pico // 10**12}.{pico % 10**12:012d}", "currency": "USD"}
        return list(found.values())

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while await self._request(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            self.hung_up += 1
        except asyncio.CancelledError:
            return  # stopped
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path = head[0].split(" ")[1]
        if path == "/usage":
            return await _whole(writer, 200, orjson.dumps(self.usage()))
        asked = orjson.loads(body) if body else {}
        if self.keeps_account:
            self.requests.append((path, headers, asked))
        mode = self.script.pop(0) if self.script else self.usual
        answer = _Answer(path, asked, self.cached)
        if mode not in _FREE and self.keeps_account:
            self.charged.append({"date": f"{datetime.now(UTC):%Y-%m-%d}", **answer.usage})
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if mode in _FREE:
            return await self._refuse(writer, mode)
        return await self._answer(writer, mode, answer)

    async def _refuse(self, writer: asyncio.StreamWriter, mode: str) -> bool:
        if mode == "redirect":
            return await _whole(writer, 302, b"", f"Location: http://127.0.0.1:{self.port}/stolen\r\n")
        status = _STATUSES[mode]
        message = f"the request is wrong ({mode})" if status in (400, 422) else "Incorrect API key provided: sk-secret"
        if self.quotes:
            message += f", sent was {self.requests[-1][1]['authorization']}"
        extra = f"Retry-After: {self.retry_after}\r\n" if status in (429, 503) and self.retry_after else ""
        body = {"error": {"message": message, "type": "x", "param": "messages", "code": "wrong"}}
        return await _whole(writer, status, orjson.dumps(body), f"{extra}X-Internal: 10.0.0.7\r\nSet-Cookie: a=b\r\n")

    async def _answer(self, writer: asyncio.StreamWriter, mode: str, answer: _Answer) -> bool:
        if mode == "slow":
            await asyncio.sleep(0.5)
        if mode == "hang":
            await asyncio.sleep(HANG_S)
        if mode == "drop":
            return False
        if answer.streams and mode not in ("garbage", "gzip", "huge"):
            return await self._stream(writer, mode, answer)
        body = orjson.dumps(answer.whole(with_usage=mode != "no_usage"))
        if mode == "garbage":
            body = b"<html>it works</html>"
        if mode == "huge":
            body = b'{"choices": [], "x": "' + b"x" * HUGE_BYTES + b'"}'
        if mode == "cut":
            writer.write(_head(200, len(body)) + body[: len(body) // 2])
            await writer.drain()
            return False
        extra = "Content-Encoding: gzip\r\n" if mode == "gzip" else ""
        return await _whole(writer, 200, body, f"{extra}X-Internal: 10.0.0.7\r\nSet-Cookie: a=b\r\n")

    async def _stream(self, writer: asyncio.StreamWriter, mode: str, answer: _Answer) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        events = answer.events(with_usage=mode != "no_usage")
        for number, item in enumerate(events):
            if number == 3 and mode in ("hang_after", "cut_after", "cut", "error_after"):
                return await self._stumble(writer, mode)
            await self._chunk(writer, b"data: " + orjson.dumps({**item, "padding": "x" * self.padding}) + b"\n\n")
            if self.event_s:
                await asyncio.sleep(self.event_s)
        if mode == "no_end":
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            return True
        await self._chunk(writer, b": a comment\n\ndata: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _stumble(self, writer: asyncio.StreamWriter, mode: str) -> bool:
        if mode == "hang_after":
            await asyncio.sleep(HANG_S)
        if mode == "error_after":
            await self._chunk(writer, b'data: {"error": {"message": "overloaded"}}\n\n')
        return False

    async def _chunk(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await writer.drain()
        self.sent_bytes += len(data)


class _Answer:
    """What one request gets, and takes."""

    def __init__(self, path: str, asked: Mapping[str, Any], cached: int):
        self.streams = asked.get("stream") is True
        self._asked, self._kind = asked, path.rsplit("/", 1)[-1]
        self._chat = path.endswith("/chat/completions")
        limit = asked.get("max_tokens") or asked.get("max_completion_tokens") or len(WORDS)
        self._count = int(asked.get("n") or 1)
        writes = self._kind == "completions"
        self.words = [WORDS[index % len(WORDS)] for index in range(min(int(limit), 5000) if writes else 0)]
        rows = asked["inputs"][0]["shape"][0] if self._kind == "infer" else 0
        texts = asked.get("messages") or asked.get("prompt") or asked.get("input") or ""
        num_input = 0 if rows else max(1, len(str(texts).split()))
        model = path.split("/")[-2] if rows else str(asked.get("model"))
        self.usage: dict[str, Any] = {
            "model": model, "input_tokens": num_input, "cached_tokens": min(cached, num_input),
            "output_tokens": len(self.words) * self._count, "rows": rows,
        }  # fmt: skip

    def whole(self, *, with_usage: bool) -> dict[str, Any]:
        if self._kind == "infer":
            tensor = {"name": "y", "datatype": "FP64", "shape": [self.usage["rows"]], "data": [0.5] * self.usage["rows"]}
            return {"model_name": self.usage["model"], "id": self._asked.get("id", ""), "outputs": [tensor]}
        if self._kind == "embeddings":
            data = [{"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}]
            return self._record("list", {"data": data, **({"usage": self._block()} if with_usage else {})})
        text = " ".join(self.words)
        said = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        choices = [{"index": index, **said, "finish_reason": "stop"} for index in range(self._count)]
        return self._record("chat.completion", {"choices": choices, **({"usage": self._block()} if with_usage else {})})

    def events(self, *, with_usage: bool) -> list[dict[str, Any]]:
        wants = bool((self._asked.get("stream_options") or {}).get("include_usage")) and with_usage
        more: dict[str, Any] = {"usage": None} if wants else {}
        found = [
            self._record("chat.completion.chunk", {"choices": [self._delta(index, f"{word} ", None)], **more})
            for word in self.words
            for index in range(self._count)
        ]
        found += [
            self._record("chat.completion.chunk", {"choices": [self._delta(index, "", "stop")], **more})
            for index in range(self._count)
        ]
        return [*found, self._record("chat.completion.chunk", {"choices": [], "usage": self._block()})] if wants else found

    def _delta(self, index: int, text: str, reason: str | None) -> dict[str, Any]:
        said: dict[str, Any] = {"delta": {"content": text}} if self._chat else {"text": text}
        return {"index": index, **said, "finish_reason": reason}

    def _block(self) -> dict[str, Any]:
        prompt, output = self.usage["input_tokens"], self.usage["output_tokens"]
        details = {"prompt_tokens_details": {"cached_tokens": self.usage["cached_tokens"]}}
        return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output, **details}

    def _record(self, kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {"id": "x-1", "object": kind, "created": 1, "model": f"{self._asked.get('model')}-2026-11-01", **fields}


def _head(status: int, length: int, extra: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{extra}\r\n".encode()


async def _whole(writer: asyncio.StreamWriter, status: int, body: bytes, extra: str = "") -> bool:
    writer.write(_head(status, len(body), extra) + body)
    await writer.drain()
    return True


def main() -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m lode.testing.provider", description=__doc__)
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--delay-ms", type=float, default=0.0, help="before every answer")
    parser.add_argument("--quiet", action="store_true", help="keep no account (for benchmarks)")
    args = parser.parse_args()
    provider = Provider(delay_s=args.delay_ms / 1000, keeps_account=not args.quiet)

    async def serve() -> None:
        server = await asyncio.start_server(provider.client, "127.0.0.1", args.port, backlog=1024)
        sys.stderr.write(f"A make-believe provider at http://127.0.0.1:{args.port}/v1\n")
        async with server:
            await server.serve_forever()

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
