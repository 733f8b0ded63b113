"""Which files are pictures, and the IDX files of MNIST. Used by lode/data/sources/images.py; lode/data/formats/archives.py finds the files.

A picture is handed on as the bytes that it is; feature `image` decodes it.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from lode.core.errors import DataError
from lode.data.formats import files

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
_NPY_MAGIC = b"\x93NUMPY"


def is_picture(name: str) -> bool:
    """Whether a name is a picture's."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def read_idx(path: Path, num_axes: int) -> np.ndarray:
    """uint8 array of an IDX file (.gz or not), the format of MNIST (Y. LeCun's page on MNIST describes it).

    Errors: DataError where it is none, holds another type, or is cut short.
    """
    data = b"".join(files.byte_chunks(path))
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != 0x08:
        raise DataError(
            f"{path}: not an IDX file of bytes (it must start with 00 00 08). Name images and labels the right way round."
        )
    if data[3] != num_axes:
        raise DataError(f"{path}: an IDX file with {data[3]} axes, {num_axes} needed. Name images and labels the right way round.")
    shape = tuple(np.frombuffer(data, dtype=">u4", count=num_axes, offset=4).tolist())
    start = 4 + 4 * num_axes
    if len(data) - start != int(np.prod(shape, dtype=np.int64)):
        raise DataError(f"{path}: the header says {shape}, but {len(data) - start:,} bytes follow. Get the file again.")
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)


def npy_cells(pictures: np.ndarray) -> list[bytes]:
    """The .npy bytes of each uint8 (H, W) or (H, W, C) picture of an array (N, H, W) or (N, H, W, C)."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {tuple(map(int, pictures.shape[1:]))}, }}"
    length = -(-(10 + len(header) + 1) // 64) * 64
    head = _NPY_MAGIC + b"\x01\x00" + (length - 10).to_bytes(2, "little") + header.ljust(length - 11).encode() + b"\n"
    return [head + picture.tobytes() for picture in pictures]
