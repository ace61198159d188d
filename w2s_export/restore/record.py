"""What an output says about its making, so that a second run knows which ones are finished."""

from __future__ import annotations

import hashlib
import html
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from w2s_export.io.files import sha256_of
from w2s_export.runtime.precision import PrecisionError

KEY = "w2s_export"
"""Name of the record: in ImageJ's Info and OME's Description it opens the line, in Zarr it is the
attribute."""


@dataclass(frozen=True, slots=True)
class Record:
    """Identical records, identical outputs (but for the last digits, where the tiles differ)."""

    source: str
    """Name of the input."""
    source_sha256: str
    network: str
    network_sha256: str
    """Of the package or the weights."""
    scale: int
    normalisation: dict[str, Any] | None
    percentiles_over: str
    dtype: str
    series: int = 0
    """Which image of the input, counted from 0."""
    keep_intensity: bool = False
    per_colour: bool = False
    precision: int = 32
    """Bits of the arithmetic."""
    orientations: Literal["", "mean", "spread"] = ""
    """What of eight orientations it holds; empty where the image was restored as it lies."""
    error: PrecisionError | None = None
    """Of 16 bits, measured on this image; no part of what tells records apart."""

    def as_text(self) -> str:
        """One line, for a header, after one for the error of 16 bits."""
        error = f"precision_error: {json.dumps(self.error.as_dict())}\n" if self.error else ""
        return f"{error}{KEY}: {json.dumps(self.as_dict(), sort_keys=True)}"

    def as_dict(self) -> dict[str, Any]:
        """For attributes of a Zarr."""
        values = asdict(self)
        left_out = {"error"} if self.orientations else {"error", "orientations"}
        return {key: value for key, value in values.items() if key not in left_out}


def recorded(path: Path) -> dict[str, Any] | None:
    """The record in a finished output; None where there is none."""
    if path.is_dir():
        return _of_zarr(path)
    if not path.is_file():  # a pipe would wait for its other end
        return None
    import tifffile

    try:
        with tifffile.TiffFile(path, _multifile=False) as tif:
            if tif.is_imagej:
                text = str((tif.imagej_metadata or {}).get("Info", ""))
            else:
                text = html.unescape(tif.ome_metadata or "") if tif.is_ome else ""
    except Exception:  # a file of any kind may be in the way: it is not ours, then
        return None
    # The last: an input that was a result itself brought a record along.
    found = re.findall(rf"^.*?{KEY}: (\{{.*?\}}+)(?:<|\s*$)", text, re.M)
    return _parsed(found[-1]) if found else None


def identity(source: Path) -> str:
    """SHA-256 of a file's content; of a Zarr, of the names, sizes and times of its files."""
    if source.is_file():
        return sha256_of(source)
    digest = hashlib.sha256()
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        status = file.stat()
        line = f"{file.relative_to(source).as_posix()} {status.st_size} {status.st_mtime_ns}\n"
        digest.update(line.encode())
    return digest.hexdigest()


def _of_zarr(path: Path) -> dict[str, Any] | None:
    if not (path / "zarr.json").is_file():
        return None
    try:
        attributes = json.loads((path / "zarr.json").read_text("utf-8"))["attributes"]
        record = attributes[KEY]["record"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
