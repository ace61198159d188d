"""The images of an OME-TIFF, whose header says in which pages, and of which file, each plane is.

An image may be spread over several files of one folder. Files beside the one that was given are
opened if they belong to the same set by the identifier inside them; others never.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from w2s_export.counting import counted
from w2s_export.errors import ImageError
from w2s_export.io import ome
from w2s_export.io.memory import most_bytes, require_within
from w2s_export.io.source import (
    ArraySource,
    Series,
    Source,
    decoding_errors,
    native,
    opaque,
    require_restorable,
)
from w2s_export.io.tiff_checks import check_pages, count_pages
from w2s_export.io.tiff_source import TiffSource

if TYPE_CHECKING:
    import tifffile

logger = logging.getLogger(__name__)

_SUFFIXES = (".tif", ".tiff", ".tf2", ".tf8", ".btf", ".ome", ".xml")
_LARGEST_COMPANION = 64 << 20


def of_ome(tif: tifffile.TiffFile, path: Path, stack: ExitStack, limit: int | None) -> list[Series]:
    """Every image that the header describes; none where it describes none."""
    try:
        own = ome.parse(tif.ome_metadata or "")
    except ValueError as error:
        logger.warning(
            "%s: its OME header is %s; read as a plain TIFF, without axes and pixel size",
            path,
            error,
        )
        return []
    header = own
    if own.elsewhere:
        text = _companion(path.parent, own.elsewhere)
        if not text:
            logger.warning(
                "%s: its OME header lies in %s, which is not beside it; read as a plain TIFF, "
                "without the planes of other files, axes and pixel size",
                path,
                own.elsewhere,
            )
        header = ome.parse(text) if text else own
    files = _Files(tif, path, own, header, stack)
    found = [
        Series(image.appearance.name, partial(_source, image, files, limit), files.home(image))
        for image in header.images
    ]
    if found and (count := files.undescribed(header.images)):
        found.append(Series("beside the header", partial(_undescribed, count)))
    return found


def header_of_a_set(path: Path) -> ImageError | None:
    """What to say of an OME header that is a file of its own; None where it is none."""
    if not path.name.lower().endswith((".ome", ".ome.xml")):
        return None
    try:
        images = ome.parse(_companion(path.parent, path.name)).images
    except ValueError:
        return None
    files = sorted({block.file for image in images for block in image.blocks} - {""})
    return ImageError(
        "is the header of a set of files, without pixels; give one of the files that it names: "
        f"{', '.join(files[:3]) or 'none'}"
    )


def _undescribed(count: int) -> Source:
    raise ImageError(
        f"{count} of its pages are in no image of its OME header, and are not restored; save them "
        "as a TIFF without that header"
    )


class _Files:
    """The files of a set, opened when first needed and closed between readings."""

    def __init__(
        self, tif: tifffile.TiffFile, path: Path, own: ome.Ome, header: ome.Ome, stack: ExitStack
    ) -> None:
        self._here, self._path, self._uuid, self._stack = tif, path, own.uuid, stack
        self._found: dict[str, tifffile.TiffFile | None] = {}
        uuids = {block.uuid for image in header.images for block in image.blocks}
        # Of a file that was renamed the header still has the old name.
        self._alone = not own.uuid and len(uuids) == 1 and not own.elsewhere

    def home(self, image: ome.OmeImage) -> str:
        """Name of the file of the first plane, if it is another of this set."""
        for _, block, _ in image.pages():
            return "" if self._is_here(block) or self._open(block) is None else block.file
        return ""

    def page(self, block: ome.Block, number: int) -> Any:
        """One page; None if it is not there."""
        file = self._here if self._is_here(block) else self._open(block)
        if file is None or number >= len(file.pages):
            return None
        return file.pages[number]

    def undescribed(self, images: Sequence[ome.OmeImage]) -> int:
        """How many pages of this file are in no image, reduced copies and masks left out."""
        named = {
            number for image in images for _, block, number in image.pages() if self._is_here(block)
        }
        left = [n for n in range(len(self._here.pages)) if n not in named]
        pages = [self._here.pages.get(n, cache=False, aspage=True) for n in left]
        return sum(not page.subfiletype & 0b101 for page in pages)

    def _is_here(self, block: ome.Block) -> bool:
        return (
            self._alone
            or not block.file
            or (bool(block.uuid) and block.uuid == self._uuid)
            or block.file.lower() == self._path.name.lower()
        )

    def _open(self, block: ome.Block) -> tifffile.TiffFile | None:
        if block.file not in self._found:
            self._found[block.file] = None
            with suppress(ImageError, OSError), decoding_errors():
                self._found[block.file] = self._member(block)
        return self._found[block.file]

    def _member(self, block: ome.Block) -> tifffile.TiffFile | None:
        import tifffile

        path = _beside(self._path.parent, block.file)
        if path is None:
            return None
        count_pages(path)
        file = self._stack.enter_context(tifffile.TiffFile(path, _multifile=False))
        if not file.is_ome or ome.parse(file.ome_metadata or "").uuid not in ("", block.uuid):
            return None
        list(file.pages)
        file.filehandle.close()
        return file


def _beside(folder: Path, name: str) -> Path | None:
    """A file of this folder, by a name that leads nowhere else."""
    if name != Path(name).name or "\\" in name or not name.lower().endswith(_SUFFIXES):
        return None
    path = folder / name
    return path if path.is_file() else None


def _companion(folder: Path, name: str) -> str:
    """The header that a stub refers to; empty if it is not there."""
    import tifffile

    path = _beside(folder, name)
    if path is None:
        return ""
    if name.lower().endswith((".ome", ".xml")):
        if path.stat().st_size > _LARGEST_COMPANION:
            raise ImageError(f"its header {name} is larger than {_LARGEST_COMPANION >> 20} MB")
        return path.read_text("utf-8")
    with decoding_errors(), tifffile.TiffFile(path, _multifile=False) as tif:
        return tif.ome_metadata or ""


def _source(image: ome.OmeImage, files: _Files, limit: int | None) -> Source:
    index = np.full(image.planes, -1, np.intp)
    planes: list[Any] = []
    missing = set[str]()
    with decoding_errors():
        for place, block, number in image.pages():
            page = files.page(block, number)
            if page is None:
                missing.add(block.file)
                continue
            index[place] = len(planes)
            planes.append(page)
        names = ", ".join(sorted(missing - {""}))
        if names and (index < 0).any():
            raise ImageError(
                f"keeps {int((index < 0).sum())} of its {counted(index.size, 'plane')} in other "
                f"files that are not beside it: {names}; put them there, or save the image as one "
                "TIFF"
            )
        # An acquisition that was stopped states planes that were never written.
        sparse = 2 * len(planes) >= index.size and planes[0].keyframe.samplesperpixel == 1
        order = [number for number in index.ravel() if number >= 0 or not sparse]
        check_pages([planes[number] if number >= 0 else None for number in order])
        layout = planes[0].keyframe
        for plane in planes:
            if plane.keyframe.shape != layout.shape or plane.keyframe.dtype != layout.dtype:
                raise ImageError("its planes differ in size or type; save them as separate images")
    claim = len(planes) * layout.size * np.dtype(layout.dtype).itemsize
    what = f"{counted(len(planes), 'plane')} of {'×'.join(map(str, layout.shape))} {layout.dtype}"
    require_within(limit, claim, what)
    known = {
        "pixel_size_um": image.pixel_size_um,
        "z_step_um": image.z_step_um,
        "interval_s": image.interval_s,
        "appearance": image.appearance,
    }
    if layout.samplesperpixel == 1 and len(layout.shape) == 2:
        size = (layout.imagelength, layout.imagewidth)
        return require_restorable(TiffSource(planes, index, np.dtype(layout.dtype), size, **known))
    require_within(most_bytes(), claim, what)
    with decoding_errors():
        pixels = np.stack([plane.asarray() for plane in planes])[index]
        if layout.axes.endswith("S"):
            if {*layout.extrasamples[-1:]} & {1, 2}:
                pixels = opaque(pixels)
            pixels = np.moveaxis(pixels, -1, 3)
    return require_restorable(ArraySource(native(pixels), **known))
