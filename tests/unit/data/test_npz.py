"""Arrays of numpy: what becomes a column, and what is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.place import Place


def scan(folder: Path, **options: Any) -> pl.DataFrame:
    return REGISTRIES["source"].create(Component("npz", {"path": "rows.npz", **options}), Place(folder)).scan().collect()


def test_arrays_become_columns_of_their_own_types(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "rows.npz",
        label=np.array([[1], [0], [1]], np.uint8),
        city=np.array([b"Bern", b"Oslo", b""]),
        at=np.arange(6, dtype=">f4").reshape(3, 2),
        scan=np.arange(48, dtype=np.uint8).reshape(3, 4, 4),
    )
    rows = scan(tmp_path)
    assert rows.columns == ["label", "city", "at.0", "at.1", "scan"]
    assert rows["label"].to_list() == [1, 0, 1] and rows["city"].to_list() == ["Bern", "Oslo", ""]
    assert rows["at.1"].to_list() == [1.0, 3.0, 5.0] and rows["scan"].dtype == pl.Binary


def test_pictures_with_channels_come_back_bit_for_bit(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "rows.npz", image=pictures)
    feature = REGISTRIES["feature"].create(Component("image"))
    assert np.array_equal(feature.fit_transform(scan(tmp_path)["image"], None, None), pictures)


def test_objects_are_refused_because_reading_them_would_run_code(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", label=np.array([1, "x"], object))
    with pytest.raises(DataError, match=r"not readable as \.npz"):
        scan(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"label": np.arange(3)}, {"arrays": {"y": "labels"}}, 'Did you mean "label"'),
        ({"a": np.arange(3), "b": np.arange(2)}, {}, "different lengths"),
        ({"a": np.float64(3.0)}, {}, "single value"),
        ({"a": np.zeros((2, 3, 4))}, {}, "3 axes of float64"),
        ({"a": np.zeros(0)}, {}, "no rows"),
        ({"a": np.array([b"\xff"])}, {}, "UTF-8"),
    ],
)
def test_what_is_no_column_is_named(arrays: dict[str, Any], options: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", **arrays)
    with pytest.raises(DataError, match=message):
        scan(tmp_path, **options)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "rows.npz", a=np.random.default_rng(0).integers(0, 9, 4000))
    whole = (tmp_path / "rows.npz").read_bytes()
    (tmp_path / "rows.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"rows\.npz: not readable"):
        scan(tmp_path)


def test_a_file_made_to_fill_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "rows.npz", a=np.zeros(1 << 20))
    monkeypatch.setattr("lode.data.formats.files.FREE_BYTES", 1 << 20)
    with pytest.raises(DataError, match="200 to one"):
        scan(tmp_path)


def _claims(shape: str) -> bytes:
    """A .npy file whose header says more than there is."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"\0" * 64


@pytest.mark.parametrize("kind", ["damaged", "encrypted", "claims"])
def test_a_hostile_file_is_an_error_of_the_data(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    if kind == "claims":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", _claims("(1000000000000000,)"))
    else:
        np.savez_compressed(path, a=np.random.default_rng(0).normal(size=1000))
        packed = bytearray(path.read_bytes())
        if kind == "damaged":
            packed[200:240] = b"\xff" * 40
        else:
            for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
                packed[packed.index(signature) + at] |= 1
        path.write_bytes(packed)
    with pytest.raises(DataError, match=r"not readable as \.npz"):
        scan(tmp_path)
