"""The peers of serve_path.py, run with their own Python: how one serves a scikit-learn pipeline with FastAPI or with LitServe.

Usage: serve_path_peers.py fit TRAIN.csv TARGET FAMILY MODEL.joblib | SERVER MODEL.joblib PORT
Same job on every side: check the row, preprocess, predict, answer with class, probabilities and decision.
"""

from __future__ import annotations

import sys
from typing import Any

import joblib
import litserve as ls
import pandas as pd
from pydantic import BaseModel, ConfigDict, create_model


def fit(train: str, target: str, family: str, path: str) -> None:
    """The pipeline that a scikit-learn user writes."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    frame = pd.read_csv(train)
    features = frame.drop(columns=target)
    words = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    numbers = [name for name in features if name not in words]
    if family == "linear":
        from sklearn.linear_model import LogisticRegression

        encoder: Any = OneHotEncoder(handle_unknown="ignore")
        model: Any = LogisticRegression(max_iter=1000)
    else:
        from lightgbm import LGBMClassifier

        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        # Small batches do not gain from threads; the defaults would be slower here.
        model = LGBMClassifier(verbose=-1, n_jobs=1)
    columns = ColumnTransformer([("words", encoder, words), ("numbers", StandardScaler(), numbers)])
    pipeline = make_pipeline(columns, model).fit(features, frame[target].astype(str))
    joblib.dump({"pipeline": pipeline, "target": target, "words": words, "numbers": numbers}, path)


def request_model(record: dict[str, Any]) -> type[BaseModel]:
    """What FastAPI validates: rows with typed fields, unknown ones forbidden."""
    strict = ConfigDict(extra="forbid")
    fields: dict[str, Any] = dict.fromkeys(record["words"], (str | None, ...))
    fields |= dict.fromkeys(record["numbers"], (float | None, ...))
    row = create_model("Row", __config__=strict, **fields)
    return create_model("Rows", __config__=strict, rows=(list[row], ...))  # type: ignore[valid-type]


def answers(record: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Predictions as our own service gives them."""
    pipeline, target = record["pipeline"], record["target"]
    classes = [str(word) for word in pipeline.classes_]
    frame = pd.DataFrame(rows, columns=[*pipeline.feature_names_in_])
    found = []
    for probabilities in pipeline.predict_proba(frame).tolist():
        best = max(range(len(classes)), key=probabilities.__getitem__)
        answer: dict[str, Any] = {target: classes[best]}
        answer |= {f"{target}.probability.{word}": share for word, share in zip(classes, probabilities, strict=True)}
        answer[f"{target}.decision"] = probabilities[1] >= 0.5
        found.append(answer)
    return found


def fastapi(path: str, port: int, threads: bool) -> None:
    """A handler on uvicorn (uvloop, httptools), one process, no access log. threads: `def` instead of `async def`."""
    import uvicorn
    from fastapi import FastAPI

    record = joblib.load(path)
    app = FastAPI()
    Rows = request_model(record)

    def predict(request: Any) -> dict[str, Any]:
        rows = [row.model_dump() for row in request.rows]
        return {"model": "bench", "version": 1, "predictions": answers(record, rows)}

    async def predict_here(request: Any) -> dict[str, Any]:
        return predict(request)

    handler = predict if threads else predict_here
    handler.__annotations__ = {"request": Rows}
    app.post("/predict")(handler)
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_level="warning")


class Api(ls.LitAPI):
    """LitServe: one worker process beside the HTTP process. Module-level, because LitServe pickles it."""

    path: str

    def setup(self, device: str) -> None:
        self.record = joblib.load(self.path)
        self.rows = request_model(self.record)

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe makes a query parameter of a typed one
        checked: Any = self.rows.model_validate(request)
        return [row.model_dump() for row in checked.rows]

    def batch(self, inputs: list[Any]) -> list[Any]:
        # All bodies of this benchmark have one row.
        return [row for rows in inputs for row in rows]

    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return answers(self.record, rows)

    def unbatch(self, output: list[Any]) -> list[Any]:
        return [[answer] for answer in output]

    def encode_response(self, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {"model": "bench", "version": 1, "predictions": output}


def litserve(path: str, port: int, max_batch: int) -> None:
    """max_batch: 64 merges requests as LitServe does, waiting up to 5 ms for them; 1 does not."""
    api = Api(max_batch_size=max_batch, batch_timeout=0.005 if max_batch > 1 else 0.0)
    api.path = path
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False, access_log=False)


def main() -> None:
    word, *rest = sys.argv[1:]
    if word == "fit":
        fit(*rest)
    elif word == "fastapi":
        fastapi(rest[0], int(rest[1]), threads=False)
    elif word == "fastapi-threads":
        fastapi(rest[0], int(rest[1]), threads=True)
    elif word == "litserve":
        litserve(rest[0], int(rest[1]), max_batch=1)
    else:
        litserve(rest[0], int(rest[1]), max_batch=64)


if __name__ == "__main__":
    main()
