from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import polars as pl
import pytest

from lode.app.contracts import Asked, Caller, Cells, Gate, Hold, Kept, RequestError, Usage
from lode.app.options import ServeOptions
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.testing.protocol import Sample, mutations, sample_answer
from lode.testing.shop import Shop

PREDICT = "/v1/models/sample:predict"
INFER = "/v2/models/sample/infer"
ROW: dict[str, Any] = {"age": 39, "job": "clerk", "born": None, "member": True, "photo": None}
TYPES = {"age": "FP64", "job": "BYTES", "born": "BYTES", "member": "BOOL", "photo": "BYTES"}


def tensors(*rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "7",
        "inputs": [
            {"name": name, "shape": [len(rows), 1], "datatype": kind, "data": [[row[name]] for row in rows]}
            for name, kind in TYPES.items()
        ],
    }


def post(talk: Any, path: str, body: Any, **rest: Any) -> httpx.Response:
    headers = {"content-type": "application/json"} | rest.pop("headers", {})
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return talk(lambda client, service: client.post(path, content=content, headers=headers), **rest)


def get(talk: Any, path: str, **rest: Any) -> httpx.Response:
    return talk(lambda client, service: client.get(path), **rest)


def test_rows_are_answered_in_order(talk: Any) -> None:
    response = post(talk, PREDICT, {"rows": [ROW | {"age": age} for age in (10, 90, "40", None)]})
    assert response.status_code == 200
    record = response.json()
    assert (record["model"], record["version"]) == ("sample", 3)
    assert [row["rich.probability.yes"] for row in record["predictions"]] == [0.1, 0.9, 0.4, 0.0]
    assert record["predictions"][1]["rich"] == "yes"
    assert [row["rich.decision"] for row in record["predictions"]] == [False, True, True, False]
    assert "unseen" not in record


def test_unseen_values_are_counted_in_the_answer_and_in_the_metrics(talk: Any) -> None:
    async def conversation(client: httpx.AsyncClient, service: Any) -> None:
        bodies = [{"rows": [ROW, ROW | {"job": job}]} for job in ("clerk", "diver", "nurse", "smith", "pilot")]
        answers = await asyncio.gather(*(client.post(PREDICT, json=body) for body in bodies))
        assert [answer.json().get("unseen") for answer in answers] == [None, {"job": 1}, None, {"job": 1}, None]
        assert 'lode_unseen_values_total{column="job"} 2.0' in (await client.get("/metrics")).text

    talk(conversation)


def test_the_open_inference_protocol_gives_the_same_answer(talk: Any) -> None:
    rows = [ROW | {"age": 10}, ROW | {"age": 90, "job": "diver"}]
    ours = post(talk, PREDICT, {"rows": rows}).json()["predictions"]
    record = post(talk, INFER, tensors(*rows)).json()
    outputs = {tensor["name"]: tensor for tensor in record["outputs"]}
    assert (record["model_name"], record["model_version"], record["id"]) == ("sample", "3", "7")
    assert record["parameters"] == {"unseen.job": 1}
    assert outputs["rich"] == {"name": "rich", "datatype": "BYTES", "shape": [2], "data": [row["rich"] for row in ours]}
    assert outputs["rich.probability.yes"]["data"] == [row["rich.probability.yes"] for row in ours]
    assert outputs["rich.decision"]["datatype"] == "BOOL"
    versioned = post(talk, "/v2/models/sample/versions/3/infer", tensors(*rows))
    assert versioned.json()["outputs"] == record["outputs"]


def test_labels_that_are_no_words_travel_as_text_in_bytes() -> None:
    protocol = REGISTRIES["protocol"].create(Component("open_inference"), Sample(), 10)
    answer = replace(sample_answer(3), columns={**sample_answer(3).columns, "rich": [1, True, None]})
    outputs = orjson.loads(protocol.encode(Cells(3, {}, ()), answer))["outputs"]
    assert outputs[0] == {"name": "rich", "datatype": "BYTES", "shape": [3], "data": ["1", "true", None]}
    assert outputs[-1]["datatype"] == "BOOL" and outputs[-1]["data"] == [False] * 3


def test_only_the_outputs_that_are_asked_for_come_back(talk: Any) -> None:
    body = tensors(ROW) | {"outputs": [{"name": "rich.decision"}]}
    assert [tensor["name"] for tensor in post(talk, INFER, body).json()["outputs"]] == ["rich.decision"]
    wrong = post(talk, INFER, tensors(ROW) | {"outputs": [{"name": "rich.decison"}]})
    assert wrong.status_code == 422
    assert 'Did you mean "rich.decision"?' in wrong.json()["error"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": [2]}, "the same number of rows in every tensor"),
        ({"data": [1, 2]}, "2 cells in data"),
        ({"shape": [1, 2]}, "[N] or [N, 1]"),
        ({"shape": [-1]}, "[N] or [N, 1]"),
        ({"datatype": "FP63"}, "FP63"),
        ({"datatype": "INT64", "data": [1.5]}, "a cell of the datatype INT64"),
        ({"data": None}, "data: null"),
        ({"name": "aeg"}, 'Did you mean "age"?'),
        ({"data": [[1, 2]]}, "a list of 2"),
    ],
)
def test_a_wrong_tensor_is_a_422_that_says_what(talk: Any, change: dict[str, Any], words: str) -> None:
    body = tensors(ROW)
    body["inputs"][0].update(change)
    response = post(talk, INFER, body)
    assert response.status_code == 422
    assert words in response.json()["error"]


def test_all_problems_of_a_request_are_in_one_answer(talk: Any) -> None:
    response = post(talk, PREDICT, {"rows": [{**ROW, "age": []}, {"agee": 1}, 5]})
    error = response.json()["error"]
    assert response.status_code == 422
    assert error["type"] == "invalid_request"
    assert error["problems"][0] == {
        "row": 0, "column": "age", "found": "a list of 0", "allowed": "a number, or null where it is not known",
    }  # fmt: skip
    assert {problem["row"] for problem in error["problems"]} == {0, 1, 2}


def test_what_the_model_says_about_cells_reaches_the_client_and_only_the_one_concerned(talk: Any) -> None:
    async def conversation(client: httpx.AsyncClient, service: Any) -> None:
        ages = [["1"], ["2", "x"], ["3"], ["y", "4", "z"], ["5"]]
        bodies = [{"rows": [ROW | {"age": age} for age in part]} for part in ages]
        answers = await asyncio.gather(*(client.post(PREDICT, json=body) for body in bodies))
        assert [answer.status_code for answer in answers] == [200, 422, 200, 422, 200]
        rows = [[problem["row"] for problem in answers[n].json()["error"]["problems"]] for n in (1, 3)]
        assert rows == [[1], [0, 2]]
        assert answers[4].json()["predictions"][0]["rich.probability.yes"] == 0.05

    talk(conversation)


def test_a_panic_inside_polars_is_a_500_of_one_request(talk: Any) -> None:
    class Panics(Sample):
        def predict(self, frame: pl.DataFrame, *, check: bool = True) -> pl.DataFrame:
            if (frame["job"] == "crash").any():
                raise pl.exceptions.PanicException("index out of bounds")
            return super().predict(frame)

    async def conversation(client: httpx.AsyncClient, service: Any) -> None:
        bodies = [{"rows": [ROW | {"job": job}]} for job in ("clerk", "crash", "nurse")]
        answers = await asyncio.gather(*(client.post(PREDICT, json=body) for body in bodies))
        assert [answer.status_code for answer in answers] == [200, 500, 200]

    talk(conversation, model=Panics())


def test_a_defect_of_the_model_fails_only_its_own_request(talk: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def conversation(client: httpx.AsyncClient, service: Any) -> None:
        bodies = [{"rows": [ROW | {"job": job}]} for job in ("clerk", "crash", "nurse")]
        headers = {"x-request-id": "the-second"}
        answers = await asyncio.gather(*(client.post(PREDICT, json=body, headers=headers) for body in bodies))
        assert [answer.status_code for answer in answers] == [200, 500, 200]
        error = answers[1].json()["error"]
        assert error["type"] == "internal"
        assert "the-second" in error["message"]
        assert "crashed" not in answers[1].text

    with caplog.at_level(logging.ERROR):
        talk(conversation)
    assert "request the-second failed" in caplog.text
    assert "the model crashed" in caplog.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"rows": [{"age": NaN}]}', 400),
        (b'{"rows": [{"age": Infinity}]}', 400),
        (b'{"rows": [{"age": 1e999}]}', 400),
        (b"[" * 100_000, 400),
        (b'{"rows": []}', 422),
        (b'{"row": [{}]}', 422),
        (b'{"rows": {}}', 422),
        (b'{"rows": [{}], "more": 1}', 422),
    ],
)
def test_bad_bodies_are_the_clients_fault(talk: Any, body: bytes, status: int) -> None:
    response = post(talk, PREDICT, body)
    assert response.status_code == status
    assert response.json()["error"]["message"]


def test_too_many_rows_and_too_many_bytes_are_a_413(talk: Any) -> None:
    options = ServeOptions(max_rows=2, max_body_bytes=1000)
    assert post(talk, PREDICT, {"rows": [ROW] * 3}, options=options).status_code == 413
    assert post(talk, PREDICT, b" " * 1001, options=options).status_code == 413
    assert post(talk, PREDICT, b" " * 1000, options=options).status_code == 400


def test_a_long_body_is_refused_before_it_is_complete(talk: Any) -> None:
    sent = 0

    async def parts() -> Any:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield b" " * 100

    async def conversation(client: httpx.AsyncClient, service: Any) -> int:
        headers = {"content-type": "application/json"}
        return (await client.post(PREDICT, content=parts(), headers=headers)).status_code

    assert talk(conversation, options=ServeOptions(max_body_bytes=1000)) == 413
    assert sent < 20


def test_a_body_that_never_ends_is_a_408(talk: Any) -> None:
    async def parts() -> Any:
        yield b"{"
        await asyncio.sleep(60)

    async def conversation(client: httpx.AsyncClient, service: Any) -> int:
        headers = {"content-type": "application/json"}
        return (await client.post(PREDICT, content=parts(), headers=headers)).status_code

    assert talk(conversation, options=ServeOptions(timeout_s=0.05)) == 408


def test_a_body_that_never_begins_is_a_408(talk: Any) -> None:
    async def parts() -> Any:
        await asyncio.sleep(60)
        yield b"{}"

    async def conversation(client: httpx.AsyncClient, service: Any) -> int:
        headers = {"content-type": "application/json"}
        return (await client.post(PREDICT, content=parts(), headers=headers)).status_code

    assert talk(conversation, options=ServeOptions(timeout_s=0.05)) == 408


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/csv"},
        {"content-type": ""},
        {"content-encoding": "gzip"},
        {"inference-header-content-length": "5"},
    ],
)
def test_only_plain_json_is_taken(talk: Any, headers: dict[str, str]) -> None:
    assert post(talk, PREDICT, {"rows": [ROW]}, headers=headers).status_code == 415


def test_json_may_name_its_character_set(talk: Any) -> None:
    headers = {"content-type": "application/json; charset=utf-8"}
    assert post(talk, PREDICT, {"rows": [ROW]}, headers=headers).status_code == 200


def test_request_ids_are_given_back_or_made(talk: Any) -> None:
    body = {"rows": [ROW]}
    assert post(talk, PREDICT, body, headers={"x-request-id": "abc"}).headers["x-request-id"] == "abc"
    made = post(talk, PREDICT, body).headers["x-request-id"]
    long = post(talk, PREDICT, body, headers={"x-request-id": "a" * 500}).headers["x-request-id"]
    assert made
    assert 0 < len(long) <= 128


def test_everything_but_health_needs_the_key(talk: Any, tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    key = shop.customer(kind="own")

    async def conversation(client: httpx.AsyncClient, service: Any) -> None:
        seen = []
        for route in client._transport.app.routes:  # type: ignore[attr-defined]
            method = "POST" if "POST" in route.methods else "GET"
            response = await client.request(method, route.path, json={"rows": [ROW]})
            seen.append(route.path)
            public = "/health/" in route.path or route.path.endswith("/ready")
            assert (response.status_code == 200) == public, route.path
            if not public:
                assert response.status_code == 401
                assert response.headers["www-authenticate"].startswith("Bearer")
                assert key not in response.text
        assert "/metrics" in seen
        good = {"authorization": f"Bearer {key}"}
        assert (await client.post(PREDICT, json={"rows": [ROW]}, headers=good)).status_code == 200
        assert (await client.get("/metrics", headers=good)).status_code == 200

    talk(conversation, gate=shop.gate())


def test_the_model_describes_itself(talk: Any) -> None:
    assert get(talk, "/v1/models").json()["models"][0]["name"] == "sample"
    record = get(talk, "/v1/models/sample").json()
    assert [column["name"] for column in record["columns"]] == ["age", "job", "born", "member", "photo"]
    assert record["card"]["version"] == 3
    assert get(talk, "/v2").json()["name"] == "lode"
    inputs = get(talk, "/v2/models/sample").json()["inputs"]
    assert inputs[0] == {"name": "age", "datatype": "FP64", "shape": [-1]}
    api = get(talk, "/openapi.json").json()
    schema = api["paths"][PREDICT]["post"]["requestBody"]["content"]["application/json"]["schema"]
    row = schema["properties"]["rows"]["items"]
    assert set(row["properties"]) == {*ROW, "shoe"} and set(row["required"]) == set(ROW)


def test_an_unknown_route_is_a_404_with_the_near_miss(talk: Any) -> None:
    response = post(talk, "/v1/models/smaple:predict", {})
    assert response.status_code == 404
    assert f'Did you mean "{PREDICT}"?' in response.json()["error"]["message"]
    assert get(talk, PREDICT).status_code == 405


def test_a_server_that_stops_is_not_ready_but_alive(talk: Any) -> None:
    async def conversation(client: httpx.AsyncClient, service: Any) -> None:
        assert (await client.get("/health/ready")).status_code == 200
        service.draining = True
        ready = [await client.get(path) for path in ("/health/ready", "/v2/health/ready", "/v2/models/sample/ready")]
        assert [response.status_code for response in ready] == [503, 503, 503]
        assert (await client.get("/health/live")).status_code == 200
        refused = await client.post(PREDICT, json={"rows": [ROW]})
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"

    talk(conversation)


class _Slow(Sample):
    """Waits in the worker until it may go on."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def predict(self, frame: Any, *, check: bool = True) -> Any:
        assert self.go.wait(30)
        return super().predict(frame)


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def test_a_full_queue_is_a_429_and_the_loop_stays_responsive(talk: Any) -> None:
    model = _Slow()

    async def conversation(client: httpx.AsyncClient, service: Any) -> None:
        body = {"rows": [ROW] * 4}
        busy = [asyncio.create_task(client.post(PREDICT, json=body))]
        await _until(lambda: service.batcher._open and not service.batcher.waiting_rows)
        busy += [asyncio.create_task(client.post(PREDICT, json=body)) for _ in range(2)]
        await _until(lambda: service.batcher.waiting_rows == 8)
        refused = await client.post(PREDICT, json=body)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        metrics = (await client.get("/metrics")).text
        assert "lode_queue_rows 8.0" in metrics
        assert 'lode_rejected_requests_total{reason="queue_full"} 1.0' in metrics
        model.go.set()
        assert [response.status_code for response in await asyncio.gather(*busy)] == [200, 200, 200]

    try:
        talk(conversation, model=model, options=ServeOptions(queue_rows=8))
    finally:
        model.go.set()


def test_metrics_count_routes_rows_and_batches(talk: Any) -> None:
    async def conversation(client: httpx.AsyncClient, service: Any) -> None:
        await client.post(PREDICT, json={"rows": [ROW, ROW]})
        await client.post(PREDICT, content=b"{", headers={"content-type": "application/json"})
        text = (await client.get("/metrics")).text
        assert f'lode_requests_total{{route="{PREDICT}",status="200"}} 1.0' in text
        assert f'lode_requests_total{{route="{PREDICT}",status="400"}} 1.0' in text
        assert "lode_rows_total 2.0" in text
        assert 'lode_batch_rows_bucket{le="2.0"} 1.0' in text
        assert f'lode_request_seconds_count{{route="{PREDICT}"}} 2.0' in text
        assert 'lode_model_info{hash="' in text

    talk(conversation)


class _Notes(Gate):
    """Notes what is settled; can be told to fail."""

    def __init__(self, broken: bool = False):
        self.asked: list[Asked] = []
        self.usages: list[Usage] = []
        self.held = 0
        self.broken = broken

    async def authorize(self, headers: Mapping[bytes, bytes], scope: str = "predict") -> Caller:
        if headers.get(b"authorization") == b"stranger":
            raise RequestError(401, "wrong_key", "no")
        return Caller("tenant-1")

    async def reserve(self, caller: Caller, asked: Asked) -> Hold:
        assert caller == Caller("tenant-1")
        self.asked.append(asked)
        self.held += 1
        return Hold(caller, asked)

    async def settle(self, hold: Hold, usage: Usage, kept: Kept | None = None) -> Kept | None:
        assert usage.request_id == hold.asked.request_id
        self.usages.append(usage)
        if self.broken:
            raise OSError("the ledger is full")
        return None

    def release(self, hold: Hold) -> None:
        self.held -= 1


def test_every_admitted_request_is_settled_once_with_what_it_took(talk: Any) -> None:
    gate = _Notes()

    async def conversation(client: httpx.AsyncClient, service: Any) -> None:
        await client.post(PREDICT, json={"rows": [ROW, ROW]})
        await client.post(PREDICT, json={"rows": [{}]})
        await client.post(PREDICT, json={"rows": [ROW | {"job": "crash"}]})
        await client.post(PREDICT, json={"rows": [ROW]}, headers={"authorization": "stranger"})

    talk(conversation, gate=gate)
    # The second is refused when its body is read: nothing is reserved for it.
    assert [asked.most["rows"] for asked in gate.asked] == [2, 1]
    assert gate.asked[0].most["request_bytes"] == gate.usages[0].units["request_bytes"]
    assert [(usage.status, usage.units.get("rows", 0)) for usage in gate.usages] == [(200, 2), (500, 0)]
    assert gate.usages[0].units["request_bytes"] > 100
    assert gate.usages[0].units["answer_bytes"] > 100
    assert gate.held == 0


def test_without_a_settled_account_there_is_no_answer(talk: Any) -> None:
    response = post(talk, PREDICT, {"rows": [ROW]}, gate=_Notes(broken=True))
    assert response.status_code == 500
    assert "predictions" not in response.text


@pytest.mark.parametrize(("path", "good"), [(PREDICT, {"rows": [ROW, ROW]}), (INFER, tensors(ROW, ROW))])
def test_no_bytes_make_a_5xx(talk: Any, path: str, good: dict[str, Any]) -> None:
    async def conversation(client: httpx.AsyncClient, service: Any) -> dict[int, int]:
        counts: dict[int, int] = {}
        for number, body in enumerate(mutations(orjson.dumps(good), 400, seed=1)):
            response = await client.post(path, content=body, headers={"content-type": "application/json"})
            assert response.status_code < 500, (number, body[:300], response.text)
            assert response.json()
            counts[response.status_code] = counts.get(response.status_code, 0) + 1
        return counts

    counts = talk(conversation)
    assert min(counts[200], counts[400], counts[422]) > 20, counts
