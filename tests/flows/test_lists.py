"""Series, vectors, sets and recordings from raw files to answers over HTTP: lists are JSON arrays, recordings base64."""

from __future__ import annotations

import asyncio
import base64
import io
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from lode.app.metering.open_gate import OpenGate
from lode.app.options import ServeOptions
from lode.app.service import create_app
from lode.core.errors import DataError
from lode.data.place import Place
from lode.pipeline.predict import predict_file, source_of
from lode.pipeline.run import Run, run
from tests.flows.flow import write_spec

NUM_ROWS = 120
SMALL = {"model": {"type": "network", "width": 16}, "train": {"epochs": 2, "threads": 1}}


def _lists() -> pl.DataFrame:
    random = np.random.default_rng(0)
    up = random.integers(0, 2, NUM_ROWS)
    walks = [(np.cumsum(random.normal(0.5 * side, 1.0, random.integers(8, 14)))).tolist() for side in up]
    goods = [list(random.choice(["milk", "bread", "eggs", "tea"], random.integers(1, 4), replace=False)) for _ in up]
    return pl.DataFrame(
        {
            "walk": walks,
            "steps": [[[value, -value] for value in walk] for walk in walks],
            "genes": [random.normal(side, 1.0, 5).tolist() for side in up],
            "basket": goods,
            "up": np.where(up, "yes", "no"),
        }
    )


def _answers(done: Run, rows: list[dict[str, Any]]) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=create_app(done.model, ServeOptions(), OpenGate()))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(f"/v1/models/{done.model.name}:predict", json={"rows": rows})

    return asyncio.run(ask())


@pytest.mark.parametrize("suffix", ["parquet", pytest.param("jsonl", marks=pytest.mark.prove)])
def test_lists_go_from_a_file_to_a_served_model(tmp_path: Path, suffix: str) -> None:
    frame = _lists()
    frame.write_parquet(tmp_path / "rows.parquet") if suffix == "parquet" else frame.write_ndjson(tmp_path / "rows.jsonl")
    spec = {"name": "lists", "data": {"source": {"type": suffix, "path": f"rows.{suffix}"}, "clean": ["duplicates", "missing"]}}
    done = run(write_spec(tmp_path, {**spec, "outputs": {"up": {"type": "binary", "positive": "yes"}}, **SMALL}))
    kinds = {column.name: (column.type, column.kind) for column in done.model.columns}
    assert kinds == {
        "walk": ("series", "list"),
        "steps": ("series", "list"),
        "genes": ("vector", "list"),
        "basket": ("set", "list"),
    }
    asked = frame.drop("up").head(5)
    answer = _answers(done, asked.to_dicts())
    assert answer.status_code == 200, answer.text
    offline = done.model.predict(asked)["up.probability.yes"].to_list()
    assert np.allclose([row["up.probability.yes"] for row in answer.json()["predictions"]], offline, atol=1e-5)
    wrong = asked.to_dicts()[0] | {"genes": [1, 2], "walk": [1, "x"]}
    refused = _answers(done, [wrong])
    assert refused.status_code == 422 and {"genes", "walk"} <= {entry["column"] for entry in refused.json()["error"]["problems"]}
    made = predict_file(
        done.model, source_of(str(tmp_path / f"rows.{suffix}"), {}), tmp_path / "out.csv", Place(tmp_path), keep=True
    )
    assert made["predicted"] == NUM_ROWS


@pytest.mark.parametrize("output", [{"up": {"type": "binary", "positive": "yes"}}, {"size": "number"}])
def test_an_input_of_which_no_list_can_be_read_is_named(tmp_path: Path, output: dict[str, Any]) -> None:
    """A wrong width breaks every cell: no row is left, and that is the input's fault, not the output's."""
    _lists().with_columns(size=pl.col("genes").list.get(0)).write_parquet(tmp_path / "rows.parquet")
    inputs = {"steps": {"type": "set", "of": "numbers", "width": 3}}
    spec = {"name": "wide", "data": {"source": {"type": "parquet", "path": "rows.parquet"}}, "inputs": inputs, "outputs": output}
    with pytest.raises(DataError, match=r"inputs\.steps.*: no list can be read"):
        run(write_spec(tmp_path, {**spec, **SMALL}))


def _sound(hz: float, seed: int) -> bytes:
    soundfile = pytest.importorskip("soundfile")
    random = np.random.default_rng(seed)
    wave = 0.3 * np.sin(2 * np.pi * hz * np.arange(3000) / 8000 + random.uniform(0, 6)) + random.normal(0, 0.02, 3000)
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, 8000, format="FLAC")
    return buffer.getvalue()


def test_recordings_go_from_an_archive_to_a_served_model_and_broken_ones_are_counted(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(3000), 8000, format="WAV")
    with zipfile.ZipFile(tmp_path / "tones.zip", "w") as archive:
        for row in range(60):
            archive.writestr(f"{('low', 'high')[row % 2]}_{row}.flac", _sound((300, 900)[row % 2], row))
        archive.writestr("low_97.flac", b"fLaC no sound")
        archive.writestr("low_98.wav", silence.getvalue())
    source = {"type": "audio", "path": "tones.zip", "label": "pitch", "label_pattern": "([a-z]+)_", "parts": {"test": "_[0-9][.]"}}
    encoder = {"type": "mel_cnn", "channels": [8, 8]}
    spec = {"name": "tones", "data": {"source": source, "split": {"by": "given", "column": "part"}}}
    inputs = {"audio": {"type": "audio", "encoder": encoder, "augment": ["gain", "noise", "shift"]}}
    done = run(
        write_spec(tmp_path, {**spec, "inputs": inputs, "outputs": {"pitch": {"type": "binary", "positive": "high"}}, **SMALL})
    )
    report = done.manifests["data"].result
    assert any("1 of 62 sounds cannot be read" in note for note in report["notes"])
    assert any("1 recordings cannot be read and were dropped (low_98.wav)" in note for note in report["notes"])
    assert report["rows"]["test"] == 10
    cells = [_sound(300, 100), _sound(900, 101)]
    answer = _answers(done, [{"audio": base64.b64encode(cell).decode()} for cell in cells])
    offline = done.model.predict(pl.DataFrame({"audio": cells}))["pitch.probability.high"].to_list()
    assert np.allclose([row["pitch.probability.high"] for row in answer.json()["predictions"]], offline, atol=1e-5)
    assert _answers(done, [{"audio": base64.b64encode(silence.getvalue()).decode()}]).status_code == 422
