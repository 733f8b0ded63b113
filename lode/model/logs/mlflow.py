"""A file store of MLflow in the run's folder (SQLite): `mlflow ui --backend-store-uri sqlite:///.../mlflow.db` shows it.

MLflow reports to its makers unless told otherwise before it is loaded; lode reports nothing to anybody.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"

from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

_BATCH = 500
"""MLflow takes at most 1,000 figures in one call."""


class Mlflow:
    """One run for each fit; a fit that was killed, stopped or failed goes on in its run. The folder is of one fit alone."""

    def __init__(self, folder: Path) -> None:
        self._client = MlflowClient(tracking_uri=f"sqlite:///{(folder / 'mlflow.db').resolve()}")
        found = self._client.get_experiment_by_name("lode")
        if found is None:
            artifacts = (folder / "artifacts").resolve().as_uri()
            experiment = self._client.create_experiment("lode", artifact_location=artifacts)
        else:
            experiment = found.experiment_id
        begun = self._client.search_runs([experiment], max_results=1)
        self._run = begun[0].info.run_id if begun else self._client.create_run(experiment).info.run_id
        self._client.update_run(self._run, status="RUNNING")
        self._kept: list[Metric] = []

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Kept for a while, because each call is a transaction."""
        self._kept += [Metric(name, value, 0, step) for name, value in figures.items()]
        if len(self._kept) >= _BATCH:
            self._flush()

    def close(self) -> None:
        """Everything is in the database."""
        self._flush()
        self._client.set_terminated(self._run)

    def _flush(self) -> None:
        if self._kept:
            self._client.log_batch(self._run, metrics=self._kept)
        self._kept = []
