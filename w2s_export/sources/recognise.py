"""Tells a file's format from its content, never from its name alone."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from w2s_export.errors import CheckpointError
from w2s_export.foreign_text import shown
from w2s_export.io.files import regular_size
from w2s_export.sources.stored_tensor import allowance, check_size

OWN = "w2s-export"
KERAS_H5 = "keras-h5"
KERAS_ARCHIVE = "keras-archive"
PYTORCH = "pytorch"
SAFETENSORS = "safetensors"
SAVED_MODEL = "saved-model"
ONNX = "onnx"
PACKAGE = "package"

ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError)
"""What `zipfile` raises for bytes that are damaged, encrypted, or packed in an unknown way."""

_RDF_NAMES = ("rdf.yaml", "bioimageio.yaml", "model.yaml")
_MAX_MEMBERS = 20_000
_LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_TABLE = 0xDB4775248B80FB57.to_bytes(8, "little")  # ends a TensorFlow checkpoint's index
_NOT_WEIGHTS = (
    (b"\x89PNG", "is a PNG image"),
    (b"\xff\xd8\xff", "is a JPEG image"),
    (b"GIF8", "is a GIF image"),
    (b"BM", "is a BMP image"),
    (b"II*\0", "is a TIFF image"),
    (b"MM\0*", "is a TIFF image"),
    (b"II+\0", "is a TIFF image"),
    (b"%PDF", "is a PDF document"),
    (b"\x1f\x8b", "is a gzip archive; unpack it first"),
    (b"BZh", "is a bzip2 archive; unpack it first"),
    (b"7z\xbc\xaf", "is a 7-Zip archive; unpack it first"),
    (b"Rar!", "is a RAR archive; unpack it first"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the weights: run `git lfs pull`"),
    (b"<!DOCTYPE", "is a web page, not the weights: download the file itself"),
    (b"<html", "is a web page, not the weights: download the file itself"),
    (b"\x93NUMPY", "is a single NumPy array; expected a whole checkpoint"),
)

_WEIGHTS = (
    ".pth", ".pt", ".ckpt", ".safetensors", ".onnx", ".keras", ".h5", ".hdf5", ".npz", ".zip",
)  # fmt: skip
"""Endings of files that may hold a network."""

_EXPECTED = (
    "expected weights of an RRDBNet (w2s-export .npz, Keras .h5, .weights.h5 or .keras, PyTorch "
    ".pth or .safetensors), or a network as ONNX, Keras, TensorFlow SavedModel or bioimage.io zip"
)


def recognise(path: Path) -> str:
    """Name of the format, one of this module's constants.

    Raises:
        CheckpointError: missing, empty, or nothing that holds a generator; says what it is.
    """
    if not path.exists():
        raise CheckpointError("does not exist; give the path of a checkpoint")
    if path.is_dir():
        return _folder(path)
    regular_size(path, CheckpointError)
    with path.open("rb") as stream:
        head = stream.read(512)
    if not head:
        raise CheckpointError("is empty; fetch or write it again")
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return KERAS_H5
    if head.startswith(_LEGACY_TORCH) or head.startswith(b"ustar", 257):
        return PYTORCH
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return SAFETENSORS
    for magic, what in _NOT_WEIGHTS:
        if head.startswith(magic):
            raise CheckpointError(f"{what}; {_EXPECTED}")
    if path.name == "saved_model.pb" or ".data-0" in path.name:
        raise CheckpointError("is one file of a SavedModel; give the whole folder, or its zip")
    if path.suffix == ".index" and _tail(path).endswith(_TABLE):
        return SAVED_MODEL
    if head[4:8] == b"TFL3":
        raise CheckpointError(f"is a TensorFlow Lite model, which cannot be read back; {_EXPECTED}")
    if head[:1] == b"\x80":
        raise CheckpointError(
            "is a Python pickle, which could run any code and is never opened; save the weights "
            "with torch.save(network.state_dict(), FILE) or as .npz by w2s-export"
        )
    if re.match(rb"\x08[\x03-\x1f][\x08-\x7a]", head):
        return ONNX  # a protobuf whose first field is an IR version, and then another field
    raise CheckpointError(f"is of no known format (it begins with {head[:8]!r}); {_EXPECTED}")


def _tail(path: Path) -> bytes:
    with path.open("rb") as stream:
        stream.seek(-min(8, path.stat().st_size), 2)
        return stream.read()


@contextmanager
def readable_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip whose damage is told.

    Raises:
        CheckpointError: it is damaged, encrypted, or packed in an unknown way.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except ZIP_DAMAGE as error:
        raise CheckpointError(f"is a damaged zip ({error}); fetch or write it again") from None


def member_names(path: Path) -> list[str]:
    """Names in a zip whose claims are within bounds.

    Raises:
        CheckpointError: no readable zip, too many members, or a size beyond the limit.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except ZIP_DAMAGE as error:
        raise CheckpointError(
            f"is a truncated or damaged zip ({error}); fetch or write it again"
        ) from None
    if len(members) > _MAX_MEMBERS:
        raise CheckpointError(f"is a zip of {len(members)} members; no checkpoint has so many")
    total = sum(member.file_size for member in members)
    check_size(total, "its members")
    if total > allowance(path.stat().st_size):
        raise CheckpointError(
            f"is a zip of {path.stat().st_size} bytes whose members claim {total}; the file is "
            "damaged or is no checkpoint"
        )
    return [member.filename for member in members]


def description_name(names: Sequence[str]) -> str | None:
    """The description among a zip's names: `rdf.yaml`, an older name, or `NAME.rdf.yaml`."""
    at_root = sorted(name for name in names if "/" not in name)
    found = [n for known in _RDF_NAMES for n in at_root if n == known or n.endswith(f".{known}")]
    return next((name for name in found if name in _RDF_NAMES), next(iter(found), None))


def _zip(path: Path) -> str:
    names = member_names(path)
    bases = {name.rsplit("/", 1)[-1] for name in names}
    if "w2s_export.json.npy" in names:
        return OWN
    if description_name(names) is not None:
        return PACKAGE
    if "config.json" in names and bases & {"model.weights.h5", "model.weights.npz"}:
        return KERAS_ARCHIVE
    if "data.pkl" in bases and "constants.pkl" in bases:
        raise CheckpointError(
            "is a TorchScript archive, a program with its weights, and is never run; save the "
            "weights alone: torch.save(network.state_dict(), FILE)"
        )
    if "data.pkl" in bases:
        return PYTORCH
    if bases & {"saved_model.pb", "variables.index"}:
        return SAVED_MODEL
    if bases & set(_RDF_NAMES):
        raise CheckpointError("is a package whose rdf.yaml lies in a folder; zip its files flat")
    inner = [name for name in names if name.lower().endswith(_WEIGHTS)]
    if inner:
        first = ", ".join(f"'{shown(name, 80)}'" for name in inner[:3])
        of_more = f", the first of {len(inner)}" if len(inner) > 3 else ""
        raise CheckpointError(
            f"is a zip around other files ({first}{of_more}), which are not looked into; unpack it "
            "and give the one that holds the generator"
        )
    raise CheckpointError(f"is a zip of {', '.join(names[:3]) or 'nothing'}; {_EXPECTED}")


def _folder(path: Path) -> str:
    if any((path / name).exists() for name in ("saved_model.pb", "variables/variables.index")):
        return SAVED_MODEL
    raise CheckpointError(
        "is a folder without saved_model.pb, so no SavedModel; give a file or that folder"
    )
