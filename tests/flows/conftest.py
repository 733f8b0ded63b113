"""One finished run that several flow tests look at."""

from __future__ import annotations

import functools

import pytest

from lode.pipeline.run import Run, run
from tests.flows.flow import BREAST_CANCER, Verb, lode_here, small, write_spec


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """breast-cancer, all candidates, packaged."""
    return run(write_spec(tmp_path_factory.mktemp("finished"), small(BREAST_CANCER)))


@pytest.fixture
def here(capfd: pytest.CaptureFixture[str]) -> Verb:
    """The command line in this process: `here("run", path)`."""
    return functools.partial(lode_here, capfd)
