"""How much compressed blocks unpack to, against the codecs themselves."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from w2s_export.errors import ImageError
from w2s_export.io import zarr_source
from w2s_export.io.images import open_source
from w2s_export.io.unpacked_size import unpacks_to

DATA = bytes(3_000_000) + np.random.default_rng(0).bytes(70_000)


def _numcodecs(name: str) -> Callable[[bytes], bytes]:
    def encode(data: bytes) -> bytes:
        codecs = pytest.importorskip("numcodecs")
        return bytes(getattr(codecs, name)().encode(data))

    return encode


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": _numcodecs("Zstd"),
    "blosc": _numcodecs("Blosc"),
}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("length", [100, 300, 70_000, len(DATA)])
def test_it_is_what_the_codec_gives(name: str, length: int) -> None:
    assert unpacks_to(ENCODERS[name](DATA[-length:]), 1 << 30) == length


def test_what_is_not_compressed_is_its_own_size() -> None:
    for data in (b"", b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"BZh", b"\x02" * 20, DATA[-1000:]):
        assert unpacks_to(data, 1 << 30) <= len(data)


def test_counting_stops_beyond_the_most() -> None:
    assert 1 << 20 < unpacks_to(gzip.compress(bytes(50 << 20)), 1 << 20) < 4 << 20


@pytest.mark.parametrize("name", ["gzip", "bz2", "xz"])
def test_streams_that_follow_one_another_count_together(name: str) -> None:
    one = ENCODERS[name](DATA)
    assert unpacks_to(one + one + b"rest", 1 << 30) == 2 * len(DATA)
    many = ENCODERS[name](b"") * 10_000 + one
    assert unpacks_to(many, 1 << 30) == len(DATA)


def test_a_frame_that_does_not_state_its_size_is_bounded_by_its_blocks() -> None:
    """200,000 blocks of one repeated byte: 800 kB that give 26 GB."""
    header = b"\x28\xb5\x2f\xfd\x00\x58"
    block = (1 << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"A"
    assert unpacks_to(header + block * 200_000, 1 << 30) == 200_000 * (128 << 10)


@pytest.mark.parametrize("codec", ["GzipCodec", "ZstdCodec", "BloscCodec"])
def test_a_chunk_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    zarr = pytest.importorskip("zarr")
    compressor = getattr(pytest.importorskip("zarr.codecs"), codec)()
    pixels = np.arange(2000 * 1000, dtype=np.uint16).reshape(2000, 1000)
    zarr.create_array(tmp_path / "a.zarr", data=pixels, chunks=(2000, 1000), compressors=compressor)
    whole = (0, 0, 0, slice(0, 2000), slice(0, 1000))
    with open_source(tmp_path / "a.zarr") as source:
        np.testing.assert_array_equal(source.read(*whole)[0], pixels)
    monkeypatch.setattr(zarr_source, "_LARGEST_CHUNK", 3_999_999)
    with open_source(tmp_path / "a.zarr") as source, pytest.raises(ImageError, match="unpacks to"):
        source.read(*whole)
