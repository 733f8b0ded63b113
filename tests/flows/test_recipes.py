"""Every recipe runs from its raw data to a served model, reaches its numbers, and answers the same offline, loaded and over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from lode.app.metering.open_gate import OpenGate
from lode.app.options import ServeOptions
from lode.app.service import create_app
from lode.core.spec import load
from lode.model.language.engine.contracts import Sampling
from lode.pipeline import artifact, loading
from lode.pipeline.language.model import LanguageModel
from lode.pipeline.run import Run, run

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
QUICK = {"medicine/breast-cancer", "basics/random-labels", "basics/four-sentences", "finance/german-credit"}
"""What `make test` runs; the others are for `make prove`."""
NO_DOWNLOAD = {
    *("medicine/breast-cancer", "vision/digits", "basics/random-labels", "basics/four-sentences", "selling/sell-predictions"),
    "language/python-sources",
}
ELSEWHERE = {"language/someone-elses-model"}
"""Recipes in which nothing is trained; tests/flows/test_upstream_books.py runs them."""
NAMES = sorted({str(path.parent.relative_to(RECIPES)) for path in RECIPES.glob("*/*/lode.yaml")} - ELSEWHERE)
PARITY_ROWS = 1000


def _marked(name: str) -> Any:
    marks = [] if name in QUICK else [pytest.mark.prove]
    return pytest.param(name, marks=[*marks, *([] if name in NO_DOWNLOAD else [pytest.mark.data])])


def test_every_quick_recipe_is_there() -> None:
    assert set(NAMES) >= QUICK | NO_DOWNLOAD


@pytest.mark.parametrize("name", [_marked(name) for name in NAMES])
def test_a_recipe_reaches_its_numbers_and_answers_the_same_everywhere(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data = None if name in NO_DOWNLOAD else _prepared(name, request.getfixturevalue("lode_data"), tmp_path)
    before = _before(name)
    for other in before:
        run(RECIPES / other / "lode.yaml", data=request.getfixturevalue("lode_data"), runs=tmp_path / "runs")
    done = run(RECIPES / name / "lode.yaml", data=data, runs=tmp_path / "runs")
    expected = json.loads((RECIPES / name / "expected.json").read_text())
    _reaches(done, expected)
    if before:  # better than the model that it started from, by more than chance
        assert done.report["learnt"], done.report["metrics"]
    assert done.manifests["package"].result["parity"]["bitwise"]
    _same_everywhere(done)


def _before(name: str) -> list[str]:
    """The recipes whose artifacts a recipe starts from, the first one first."""
    start = load(RECIPES / name / "lode.yaml").model.options.get("start")
    other = f"{name.split('/')[0]}/{start}"
    return [*_before(other), other] if other in NAMES else []


def _prepared(name: str, data: Path, folder: Path) -> Path:
    """The folder of data; where the README makes a file of them first, the folder in which just that was done."""
    script = re.search(
        r"^python - DIR <<'END'\n(.*?)^END$", (RECIPES / name / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    if script is None:
        return data
    subprocess.run([sys.executable, "-", str(data)], input=script[1], text=True, cwd=folder, check=True)
    return folder


def _reaches(done: Run, expected: dict[str, Any]) -> None:
    wanted = expected["metric"]
    record = done.report["outputs"][wanted["output"]] if "output" in wanted else done.report
    found = record["metrics"][wanted["name"]]["value"]
    print(f"{done.spec.name}: {wanted['name']} {found:.4f}, {done.headline}")
    assert found >= wanted.get("at_least", -np.inf), f"{wanted['name']} {found}"
    assert found <= wanted.get("at_most", np.inf), f"{wanted['name']} {found}"
    if "packaged" in expected:
        assert done.manifests["train"].result["chosen"] == expected["packaged"]


def _same_everywhere(done: Run) -> None:
    """Promise 2: bitwise at equal batch shape, else 1e-5."""
    model = loading.load(done.spec.name, done.runs)
    if isinstance(model, LanguageModel):
        _writes_the_same(done, model)
        return
    test = pl.read_parquet(done.folders["data"] / "test.parquet").head(PARITY_ROWS)
    rows = test.select([column.name for column in model.columns])
    offline = artifact.read(done.folders["train"] / "models" / done.manifests["train"].result["chosen"]).predict(rows)
    assert offline.equals(model.predict(rows))
    over_http = asyncio.run(_over_http(model, rows))
    for column in offline.columns:
        if offline[column].dtype.is_float():
            assert np.allclose(over_http[column].to_numpy(), offline[column].to_numpy(), rtol=1e-5, atol=1e-5), column
        else:
            assert (over_http[column] == offline[column]).mean() >= 0.999, column


def _writes_the_same(done: Run, model: LanguageModel) -> None:
    """The packaged model and the trained one say the same word for word; over HTTP they do in tests/flows of the endpoints."""
    prompts = [sample["prompt"] for sample in done.report["samples"]]
    greedy = Sampling(max_tokens=20, temperature=0.0)
    trained = loading.read(done.folders["train"] / "models" / done.manifests["train"].result["chosen"])
    assert isinstance(trained, LanguageModel)
    assert prompts and trained.generate(prompts, greedy) == model.generate(prompts, greedy)


async def _over_http(model: artifact.Model, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows sent in requests of 50, all at once."""
    app = create_app(model, ServeOptions(), OpenGate())
    kinds = {column.name: column.kind for column in model.columns}

    def plain(name: str, cell: Any) -> Any:
        if cell is None or kinds[name] not in ("binary", "datetime"):
            return cell
        return base64.b64encode(cell).decode() if kinds[name] == "binary" else cell.isoformat()

    bodies = [
        {"rows": [{name: plain(name, cell) for name, cell in row.items()} for row in part.iter_rows(named=True)]}
        for part in rows.iter_slices(50)
    ]
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=120) as client:
        answers = await asyncio.gather(*(client.post(f"/v1/models/{model.name}:predict", json=body) for body in bodies))
    assert all(answer.status_code == 200 for answer in answers), [
        answer.text[:300] for answer in answers if answer.status_code != 200
    ][:1]
    return pl.DataFrame([entry for answer in answers for entry in answer.json()["predictions"]], infer_schema_length=None)
