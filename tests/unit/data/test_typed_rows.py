"""Cells of drivers become typed columns; what cannot be kept exactly is said."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from lode.data.access.typed_rows import common_schema, conform, frame_of

HERE = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("cells", "dtype", "expected", "note"),
    [
        ([1, None, -3], pl.Int64, [1, None, -3], None),
        ([True, None], pl.Boolean, [True, None], None),
        ([1, True], pl.Int64, [1, 1], None),
        ([1, 2.5], pl.Float64, [1.0, 2.5], None),
        ([Decimal("1.25"), None], pl.Float64, [1.25, None], "exact decimals"),
        ([Decimal("1.5"), 2], pl.Float64, [1.5, 2.0], "exact decimals"),
        ([2**63, 1], pl.String, ["9223372036854775808", "1"], "more than 64 bits"),
        ([2**63 - 1, -(2**63)], pl.Int64, [2**63 - 1, -(2**63)], None),
        (["a", None, ""], pl.String, ["a", None, ""], None),
        ([b"\x00\xff", memoryview(b"a")], pl.Binary, [b"\x00\xff", b"a"], None),
        ([date(2024, 2, 29), None], pl.Date, [date(2024, 2, 29), None], None),
        ([datetime(2024, 1, 1, 2, tzinfo=HERE)], pl.Datetime("us"), [datetime(2024, 1, 1)], None),
        ([datetime(2024, 1, 1, 2), datetime(2024, 1, 1, 2, tzinfo=UTC)], pl.Datetime("us"), [datetime(2024, 1, 1, 2)] * 2, None),
        ([date(2024, 1, 1), datetime(2024, 1, 1, 5)], pl.Datetime("us"), [datetime(2024, 1, 1), datetime(2024, 1, 1, 5)], None),
        ([{"k": [1, "\u00fc"]}, [2]], pl.String, ['{"k": [1, "\u00fc"]}', "[2]"], None),
        ([time(12, 30), timedelta(hours=1)], pl.String, ["12:30:00", "01:00:00"], None),
        ([timedelta(hours=-1), timedelta(days=32, hours=3)], pl.String, ["-01:00:00", "771:00:00"], None),
        ([timedelta(seconds=-1, microseconds=500_000), timedelta(0)], pl.String, ["-00:00:00.500000", "00:00:00"], None),
        ([uuid.UUID(int=1)], pl.String, ["00000000-0000-0000-0000-000000000001"], None),
        ([1, "a", b"\xff", None], pl.String, ["1", "a", "\\xff", None], "mixes kinds"),
        ([None, None], pl.Null, [None, None], None),
    ],
)
def test_cells_keep_their_kind(cells: list[Any], dtype: Any, expected: list[Any], note: str | None) -> None:
    frame, notes = frame_of(["x"], [[cell] for cell in cells])
    assert frame.schema["x"] == dtype
    assert frame["x"].to_list() == expected
    assert (note in notes[0] and len(notes) == 1) if note else not notes


def test_parts_share_the_narrowest_type_that_keeps_all_cells() -> None:
    notes: list[str] = []
    parts = [
        pl.DataFrame({"a": [1], "b": [None], "d": [date(2024, 1, 1)]}),
        pl.DataFrame({"b": [b"\xff"], "a": [None], "d": [None]}),
    ]
    parts.append(pl.DataFrame({"a": [0.5], "b": ["t"], "d": [datetime(2024, 1, 1, 1)]}))
    schema = common_schema([part.schema for part in parts], notes)
    assert schema == {"a": pl.Float64(), "b": pl.String(), "d": pl.Datetime("us")}
    whole = pl.concat([conform(part, schema) for part in parts])
    assert whole["b"].to_list() == [None, "\\xff", "t"]
    assert whole["a"].to_list() == [1.0, None, 0.5]
    assert common_schema([{"x": pl.Null()}], notes) == {"x": pl.String()}
