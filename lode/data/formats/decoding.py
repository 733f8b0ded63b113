"""Encoded pictures to uint8 arrays: PNG, JPEG, GIF, BMP, WebP and NPY bytes. Safe on hostile bytes. Used by features/image.py.

Pictures of many cells are decoded by a pool of threads, for Pillow lets go of the interpreter's lock. NPY cells that all have the
same header (MNIST: 60,000 of them) are read as one array.
"""

from __future__ import annotations

import ast
import base64
import binascii
import io
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 50_000_000
"""A picture with more is rejected by its header, before anything is decoded (decompression bombs)."""

_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
_GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"})
_ORIENTATION = 0x0112
_NPY_MAGIC = b"\x93NUMPY"
_NPY_FIELDS = {"descr", "fortran_order", "shape"}
_MAX_NPY_HEADER_BYTES = 4_096
_FEW_PICTURES = 4
# What Pillow raises on damaged bytes, as seen by flipping and cutting bytes of every format.
_BROKEN = (
    OSError,
    Image.DecompressionBombError,
    Warning,  # where warnings are errors
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    NotImplementedError,
    MemoryError,
    struct.error,
    zlib.error,
)

Result = TypeVar("Result")


def each(work: Callable[[bytes], Result], cells: Sequence[bytes]) -> list[Result]:
    """work(cell) of every cell, in order; many cells are shared among threads."""
    if len(cells) <= _FEW_PICTURES:
        return [work(cell) for cell in cells]
    num_threads = min(os.cpu_count() or 1, 16)
    size = max(1, min(64, len(cells) // (4 * num_threads)))
    parts = [cells[start : start + size] for start in range(0, len(cells), size)]
    with ThreadPoolExecutor(num_threads) as pool:
        found = pool.map(lambda part: [work(cell) for cell in part], parts)
        return [result for part in found for result in part]


def from_base64(text: str | None) -> bytes | None:
    """The bytes of a base64 string, with or without a `data:` prefix; None where it is none."""
    if not text:
        return None
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text.strip(), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def look(cell: bytes) -> tuple[int, int, bool] | None:
    """Height, width and whether it is gray, from the header; None where it is no picture. Orientation is taken into account."""
    if cell.startswith(_NPY_MAGIC):
        header = _npy_header(cell)
        return None if header is None else (header[1][0], header[1][1], header[1][2] == 1)
    try:
        with _opened(cell) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                return None
            turned = "exif" in picture.info and picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
            gray = picture.mode in _GRAY_MODES
            return (width, height, gray) if turned else (height, width, gray)
    except _BROKEN:
        return None


def decode(cell: bytes, height: int, width: int, num_channels: int) -> np.ndarray | None:
    """uint8 (height, width, num_channels); None where the bytes are damaged, too large or no picture.

    Squashed to the size with bilinear filtering, whatever its aspect; turned as its EXIF orientation says; transparency on white.
    """
    if cell.startswith(_NPY_MAGIC):
        array = _npy(cell)
        return None if array is None else _from_array(array, height, width, num_channels)
    mode = "L" if num_channels == 1 else "RGB"
    try:
        with _opened(cell) as picture:
            if not 0 < picture.width * picture.height <= MAX_PIXELS:
                return None
            side = 2 * max(height, width)
            if picture.format == "JPEG" and min(picture.size) >= 2 * side:
                picture.draft(mode, (side, side))  # decodes a photograph at an eighth of its size, say
            picture.load()
            turned = ImageOps.exif_transpose(picture) if "exif" in picture.info else picture
            return _sized(_plain(turned, mode), height, width, num_channels)
    except _BROKEN:
        return None


def stack_same(cells: Sequence[bytes]) -> np.ndarray | None:
    """uint8 (N, H, W, C), read only, if all cells are NPY with one and the same header; else None."""
    if not cells or not cells[0].startswith(_NPY_MAGIC) or any(len(cell) != len(cells[0]) for cell in cells):
        return None
    header = _npy_header(cells[0])
    if header is None:
        return None
    start, shape = header
    matrix = np.frombuffer(b"".join(cells), dtype=np.uint8).reshape(len(cells), len(cells[0]))
    if not (matrix[:, :start] == matrix[0, :start]).all():
        return None
    return matrix[:, start:].reshape(len(cells), *shape)


def fit_array(array: np.ndarray, height: int, width: int, num_channels: int) -> np.ndarray:
    """uint8 (N, height, width, num_channels) from pictures of one shape, uint8 (N, H, W, C), N at least 1."""
    if array.shape[1:] == (height, width, num_channels):
        return np.ascontiguousarray(array)
    return np.stack([_from_array(picture, height, width, num_channels) for picture in array])


def to_npy(array: np.ndarray) -> bytes:
    """NPY bytes of uint8 (H, W, C), which `decode` reads."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _opened(cell: bytes) -> Any:
    return Image.open(io.BytesIO(cell), formats=_FORMATS)


def _plain(picture: Any, mode: str) -> Any:
    """A Pillow image of mode L or RGB: 16-bit grays are scaled (Pillow would cut them off), transparency is laid on white."""
    if picture.mode == mode:
        return picture
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64)
        picture = Image.fromarray((np.clip(values, 0, 65_535) >> 8).astype(np.uint8))
    elif picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        top = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", top.size, (255, 255, 255, 255)), top)
    return picture.convert(mode)


def _sized(picture: Any, height: int, width: int, num_channels: int) -> np.ndarray:
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.uint8).reshape(height, width, num_channels)


def _from_array(array: np.ndarray, height: int, width: int, num_channels: int) -> np.ndarray:
    """As `decode`, from uint8 (H, W, C)."""
    if array.shape == (height, width, num_channels):
        return array
    flat = array[:, :, 0] if array.shape[2] == 1 else array
    picture = _plain(Image.fromarray(np.ascontiguousarray(flat)), "L" if num_channels == 1 else "RGB")
    return _sized(picture, height, width, num_channels)


def _npy(cell: bytes) -> np.ndarray | None:
    """uint8 (H, W, C), read only."""
    header = _npy_header(cell)
    if header is None:
        return None
    start, shape = header
    return np.frombuffer(cell, dtype=np.uint8, offset=start).reshape(shape)


def _npy_header(cell: bytes) -> tuple[int, tuple[int, int, int]] | None:
    """Where the values start and their (H, W, C); None unless they are uint8 (H, W) or (H, W, 1 | 3 | 4) and complete."""
    if len(cell) < 12 or cell[6] not in (1, 2):
        return None
    wide = cell[6] == 2
    length = struct.unpack_from("<I" if wide else "<H", cell, 8)[0]
    start = (12 if wide else 10) + length
    if length > _MAX_NPY_HEADER_BYTES or start > len(cell):
        return None
    shape = _npy_shape(cell[start - length : start])
    if shape is None or len(cell) - start != shape[0] * shape[1] * shape[2]:
        return None
    return start, shape


@lru_cache(maxsize=64)
def _npy_shape(text: bytes) -> tuple[int, int, int] | None:
    """(H, W, C) of a NPY header's text, if it is about uint8 pictures."""
    try:
        header = ast.literal_eval(text.decode("latin1").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(header, dict) or set(header) != _NPY_FIELDS or header["fortran_order"] is not False:
        return None
    return _picture_shape(header["shape"]) if header["descr"] in ("|u1", "u1", "<u1") else None


def _picture_shape(shape: Any) -> tuple[int, int, int] | None:
    if not isinstance(shape, tuple) or len(shape) not in (2, 3) or not all(type(size) is int and size > 0 for size in shape):
        return None
    height, width, num_channels = (*shape, 1)[:3]
    return (height, width, num_channels) if num_channels in (1, 3, 4) and height * width <= MAX_PIXELS else None
