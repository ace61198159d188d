"""How much a compressed block unpacks to, before anything is: ten kilobytes can be ten gigabytes.

Read off the headers of Blosc and Zstandard (RFC 8878); counted, without keeping it, for gzip, zlib,
bzip2 and xz, whose headers do not say.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import Any

_STEP = 1 << 20
_PIECE, _MAGIC = 1 << 14, 8
_ZSTD_BLOCK = 128 << 10
"""Bytes that a block of Zstandard gives at most."""


def unpacks_to(data: bytes, most: int) -> int:
    """Bytes that a block unpacks to; what is more than `most` need not be exact.

    Args:
        data: a compressed block of any of the formats; of anything else its own size is given.
        most: where to stop counting.
    """
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return _zstd(data)
    if data[:1] == b"\x02" and len(data) >= 16 and data[12:16] == len(data).to_bytes(4, "little"):
        return int.from_bytes(data[4:8], "little")  # Blosc 1: version, flags, sizes
    return _counted(data, most) if _opened(data) else len(data)


def _opened(data: bytes) -> Any:
    if data[:2] == b"\x1f\x8b":
        return zlib.decompressobj(31)
    if data[:1] == b"\x78" and int.from_bytes(data[:2], "big") % 31 == 0:
        return zlib.decompressobj(15)
    if data[:3] == b"BZh":
        return bz2.BZ2Decompressor()
    return lzma.LZMADecompressor() if data[:6] == b"\xfd7zXZ\x00" else None


def _counted(data: bytes, most: int) -> int:
    """Of all streams that follow one another, as the codecs read them."""
    count = place = 0
    try:
        while count <= most and (opened := _opened(data[place : place + _MAGIC])):
            piece = b""
            while not opened.eof and count <= most:
                wanted = not piece and getattr(opened, "needs_input", True)
                piece = data[place : place + _PIECE] if wanted else piece
                place += len(piece) if wanted else 0
                if wanted and not piece:
                    return count
                count += len(opened.decompress(piece, _STEP))
                piece = getattr(opened, "unconsumed_tail", b"")
            place -= len(opened.unused_data)
    except (zlib.error, OSError, EOFError, lzma.LZMAError):
        pass  # its codec will say what is wrong with it
    return count


def _zstd(data: bytes) -> int:
    """Stated by the frame, else the most that its blocks can give."""
    descriptor = data[4] if len(data) > 4 else 0
    single, width = descriptor >> 5 & 1, (0, 2, 4, 8)[descriptor >> 6]
    place = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    width = width or single
    if width:
        return int.from_bytes(data[place : place + width], "little") + 256 * (width == 2)
    total = 0
    while place + 3 <= len(data):
        header = int.from_bytes(data[place : place + 3], "little")
        kind, size = header >> 1 & 3, header >> 3
        total += _ZSTD_BLOCK if kind == 2 else size
        place += 3 + (1 if kind == 1 else size)
        if header & 1:
            break
    return total
