from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import polars as pl
import pytest
from PIL import Image as Pillow

from lode.data.features.image import Image
from lode.data.formats import decoding

RNG = np.random.default_rng(0)


def _encoded(pixels: np.ndarray, suffix: str = "png", **options: object) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, suffix, **options)
    return buffer.getvalue()


def _column(*found: bytes | None) -> pl.Series:
    return pl.Series("x", list(found), dtype=pl.Binary)


def _bomb(side: int) -> bytes:
    """A PNG that says it is side x side, in some hundred bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\x00" * 1000)) + chunk(b"IEND", b"")


GRAY = RNG.integers(0, 256, (8, 6), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (8, 6, 3), dtype=np.uint8)


def test_pixels_come_back_as_they_are_where_the_size_fits() -> None:
    feature = Image()
    array = feature.fit_transform(_column(_encoded(COLOUR), decoding.to_npy(COLOUR)), None, None)
    assert (array == COLOUR).all() and feature.spec.shape == (8, 6, 3)


def test_gray_pictures_keep_one_channel_and_colour_wins_in_a_mixture() -> None:
    assert Image().fit_transform(_column(_encoded(GRAY), decoding.to_npy(GRAY)), None, None).shape == (2, 8, 6, 1)
    assert Image().fit_transform(_column(_encoded(GRAY), _encoded(COLOUR)), None, None).shape == (2, 8, 6, 3)
    assert Image(mode="gray").fit_transform(_column(_encoded(COLOUR)), None, None).shape == (1, 8, 6, 1)


def test_large_pictures_become_64_pixels_unless_a_size_is_named() -> None:
    large = _column(_encoded(RNG.integers(0, 256, (90, 120, 3), dtype=np.uint8)))
    assert Image().fit_transform(large, None, None).shape == (1, 64, 64, 3)
    assert Image(height=20).fit_transform(large, None, None).shape == (1, 20, 20, 3)
    assert Image(height=20, width=30).fit_transform(large, None, None).shape == (1, 20, 30, 3)


def test_offset_and_scale_standardise_each_channel() -> None:
    feature = Image()
    array = feature.fit_transform(
        _column(*(_encoded(RNG.integers(0, 200, (8, 6, 3), dtype=np.uint8)) for _ in range(50))), None, None
    )
    standard = (array - np.array(feature.spec.offset)) * np.array(feature.spec.scale)
    assert np.abs(standard.mean(axis=(0, 1, 2))).max() < 1e-6 and np.abs(standard.std(axis=(0, 1, 2)) - 1).max() < 1e-6


def test_a_missing_picture_is_the_average_colour_and_unknown_to_trees() -> None:
    feature = Image()
    array = feature.fit_transform(_column(_encoded(COLOUR), None), None, None)
    assert (array[1] == np.rint(feature.spec.offset)).all() and np.isnan(feature.flat(_column(None))).all()


@pytest.mark.parametrize("seen", [1, 100])
def test_damaged_pictures_are_rejected_and_their_neighbours_stay(seen: int) -> None:
    whole = _encoded(COLOUR)
    bad = [
        b"",
        b"hello",
        whole[: len(whole) // 2],
        _encoded(COLOUR, "jpeg")[:200],
        decoding.to_npy(COLOUR)[:-1],
        _bomb(20_000),
    ]
    parsed = Image().parse(_column(*([whole, *bad] * seen)))
    assert parsed.is_null().to_list() == ([False] + [True] * len(bad)) * seen


def test_a_decompression_bomb_is_rejected_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pillow.Image, "load", lambda picture: pytest.fail("decoded"))
    assert decoding.decode(_bomb(8_000), 8, 8, 3) is None and decoding.look(_bomb(8_000)) is None


def test_npy_cells_hold_pictures_only_and_never_objects() -> None:
    for array in (
        np.zeros((2, 2), np.float32),
        np.zeros(4, np.uint8),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros((0, 2), np.uint8),
    ):
        assert decoding.decode(decoding.to_npy(array), 2, 2, 1) is None
    buffer = io.BytesIO()
    np.save(buffer, np.array([[{}]], dtype=object), allow_pickle=True)
    assert decoding.decode(buffer.getvalue(), 2, 2, 1) is None


def test_many_equal_npy_cells_are_read_as_one_array_with_the_same_result() -> None:
    pictures = RNG.integers(0, 256, (100, 8, 6), dtype=np.uint8)
    column = _column(*map(decoding.to_npy, pictures))
    feature = Image()
    assert decoding.stack_same(column.to_list()) is not None
    assert (feature.fit_transform(feature.parse(column), None, None)[..., 0] == pictures).all()
    smaller = Image(height=4)
    array = smaller.fit_transform(column, None, None)
    assert all((smaller.transform(column.slice(row, 1))[0] == array[row]).all() for row in range(100))


def test_base64_texts_are_pictures_too() -> None:
    text = base64.b64encode(_encoded(COLOUR)).decode()
    parsed = Image().parse(pl.Series("x", [text, f"data:image/png;base64,{text}", "???", None]))
    assert parsed.to_list() == [_encoded(COLOUR), _encoded(COLOUR), None, None]


def test_orientation_is_honoured() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    turned = _encoded(COLOUR, exif=exif)
    assert decoding.look(turned) == (6, 8, False)
    assert (decoding.decode(turned, 6, 8, 3) == np.rot90(COLOUR, -1)).all()


def test_transparency_is_white_and_sixteen_bits_are_scaled() -> None:
    clear = _encoded(np.zeros((4, 4, 4), dtype=np.uint8))
    assert (decoding.decode(clear, 4, 4, 3) == 255).all()
    deep = _encoded(np.full((4, 4), 0x8000, dtype=np.uint16))
    assert (decoding.decode(deep, 4, 4, 1) == 0x80).all()


def test_flat_is_mean_brightness_on_at_most_8_by_8_cells() -> None:
    picture = np.zeros((40, 40), dtype=np.uint8)
    picture[:, 20:] = 255
    feature = Image()
    feature.fit(_column(decoding.to_npy(picture)))
    flat = feature.flat(_column(decoding.to_npy(picture))).reshape(8, 8)
    assert (flat[:, :4] == 0).all() and (flat[:, 4:] == 1).all() and len(feature.flat_spec.names) == 64


def test_random_damage_never_raises() -> None:
    rng = np.random.default_rng(1)
    seeds = [_encoded(COLOUR, suffix) for suffix in ("png", "jpeg", "gif", "bmp", "webp")] + [decoding.to_npy(COLOUR)]
    read = 0
    for _ in range(600):
        cell = bytearray(seeds[rng.integers(len(seeds))])
        for _ in range(rng.integers(1, 8)):
            cell[rng.integers(len(cell))] = rng.integers(256)
        if rng.random() < 0.2:
            del cell[rng.integers(1, len(cell)) :]
        array = decoding.decode(bytes(cell), 5, 5, 3)
        assert array is None or array.shape == (5, 5, 3)
        read += array is not None
    assert 50 < read < 550, "some damage is only to the colours, some makes a picture unreadable"
