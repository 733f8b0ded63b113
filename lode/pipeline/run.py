"""READ FIRST: one file, done stage by stage; a stage's key is the hash of what decides its result, so nothing is done twice, and a killed
run goes on with the same command.

`lode/pipeline/work.py` has what all runs do, `lode/pipeline/rows.py` the stages of rows with outputs (data -> train -> evaluate ->
package), `lode/pipeline/documents.py` those of documents (data -> tokens -> train -> evaluate -> package), `lode/pipeline/upstream_work.py`
the one of somebody else's model (package).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lode.core import disk
from lode.core import spec as specs
from lode.core.errors import SpecError
from lode.core.naming import named
from lode.core.spec import Spec, is_language, is_upstream
from lode.model.contracts import Progress, no_progress
from lode.pipeline.manifest import lock, lock_in_turn
from lode.pipeline.rows import RowsWork
from lode.pipeline.upstream_work import UpstreamWork
from lode.pipeline.work import Run, Stage, Work

_RECORD_BYTES = 200_000
"""About what a run keeps of itself beside its stages, which tell what they need themselves."""


def silent(line: str) -> None:
    """Says nothing."""


def run(
    path: str | Path = "lode.yaml",
    *,
    data: str | Path | None = None,
    runs: str | Path | None = None,
    until: Stage = "package",
    progress: Progress = no_progress,
    say: Callable[[str], None] = silent,
) -> Run:
    """Do the stages of a file up to `until`; what is done already is not done again.

    data: folder where relative paths are looked for first. runs: where results go (default: `runs` beside the file).
    say: gets one line for each thing a person should know while it happens.
    Errors: SpecError, DataError, ModelError, ArtifactError, BusyError, DiskFullError.

    Example:
        run = lode.run("lode.yaml")
        print(run.headline)
    """
    spec = specs.load(Path(path), None if data is None else Path(data))
    folder = Path(runs) if runs is not None else spec.path.parent / "runs"
    with named(spec.path), lock(folder, f"lode run {spec.path}"):
        work = work_of(spec)(spec, folder, None if data is None else Path(data), progress, say)
        try:
            return work.until(until)
        except OSError as error:
            if disk.is_full(error):
                raise disk.full_error(folder, _RECORD_BYTES) from error
            raise


def work_of(spec: Spec) -> type[Work]:
    """The stages that a file asks for."""
    if is_upstream(spec.model):
        return UpstreamWork
    if not is_language(spec.model):
        return RowsWork
    # Here: rows have no need of tokenizers and the decoder.
    from lode.pipeline.documents import DocumentsWork

    return DocumentsWork


def begin(path: Path, data: Path | None, runs: Path, progress: Progress, say: Callable[[str], None]) -> RowsWork:
    """The work of a file whose data stage is done, without its lock; `RowsWork.fitting` goes on from here.

    Errors: SpecError for a language model, whose options are not searched.
    """
    spec = specs.load(path, data)
    if is_language(spec.model) or is_upstream(spec.model):
        what = "a language model" if is_language(spec.model) else "somebody else's model"
        raise SpecError(f"{path}:model: found {what}, allowed: a model of rows. Compare runs of changed files instead.")
    with named(path):
        work = RowsWork(spec, runs, data, progress, say)
        with lock_in_turn(runs, f"lode tune {path}", say):
            work.until("data")
    return work
