from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.app.admin.world import AdminWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AdminWorld]:
    """Two customers, and the operator's own organisation."""
    made = AdminWorld(tmp_path)
    yield made
    made.store.close()
