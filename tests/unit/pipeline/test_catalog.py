"""Names, versions, promotion and rollback, and the migration of the SQLite file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from lode.core.errors import ArtifactError
from lode.pipeline.catalog import Catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    made = Catalog(tmp_path)
    for content in "abc":
        made.add_artifact("churn", content * 64, "run-1", f"headline {content}")
    return made


def test_versions_count_up_and_the_first_is_production(catalog: Catalog) -> None:
    assert [(row["version"], row["production"]) for row in catalog.artifacts("churn")] == [(3, False), (2, False), (1, True)]


def test_the_same_content_keeps_its_version(catalog: Catalog) -> None:
    assert catalog.next_version("churn", "b" * 64) == 2
    assert catalog.add_artifact("churn", "b" * 64, "run-2", None) == (2, False)
    assert catalog.next_version("churn", "d" * 64) == 4


def test_rollback_walks_back_through_what_was_in_production(catalog: Catalog) -> None:
    catalog.promote("churn", 2)
    catalog.promote("churn", 3)
    assert catalog.previous("churn") == 2
    catalog.promote("churn", 2)
    assert catalog.previous("churn") == 1, "a second rollback goes one further back, not forward again"
    catalog.promote("churn", 1)
    with pytest.raises(ArtifactError, match="no other production version than 1"):
        catalog.previous("churn")


def test_promoting_what_is_promoted_changes_nothing(catalog: Catalog) -> None:
    assert catalog.promote("churn", 1) == 1
    with pytest.raises(ArtifactError):
        catalog.previous("churn")


def test_unknown_names_and_versions_are_named_with_what_exists(catalog: Catalog) -> None:
    with pytest.raises(ArtifactError, match=r'no model "chrn", there is churn\. Did you mean "churn"'):
        catalog.version("chrn")
    with pytest.raises(ArtifactError, match="no version 9, there is 1, 2, 3"):
        catalog.version("churn", 9)


def test_a_catalogue_of_a_later_lode_is_refused(tmp_path: Path) -> None:
    Catalog(tmp_path).artifacts()
    with sqlite3.connect(tmp_path / "catalog.sqlite") as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(ArtifactError, match="schema version 99, this lode knows up to"):
        Catalog(tmp_path).artifacts()


def test_runs_keep_how_far_they_came(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.start_run("churn-1", "churn", tmp_path / "lode.yaml")
    catalog.note_stages("churn-1", {"data": "k1"})
    assert catalog.runs()[0]["status"] == "running"
    catalog.end_run("churn-1", "done", "worth it")
    row = catalog.runs()[0]
    assert (row["status"], row["stages"], row["headline"]) == ("done", {"data": "k1"}, "worth it")
