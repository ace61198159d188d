"""Where a training's pairs lie and which fields are held out: the `data:` of its configuration."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from w2s_export.config import Frozen
from w2s_export.counting import counted
from w2s_export.data.pairs import PairFiles, image_names, match_names
from w2s_export.errors import ImageError

HeldOut = tuple[str, ...] | Annotated[float, Field(gt=0, lt=1)]


class _Source(Frozen):
    """What every layout has."""

    duplicates: Literal["refuse", "warn"] = "refuse"
    """What to do with a held-out field that looks like another split's, in any orientation."""

    def held_out(self) -> dict[str, HeldOut]:
        """Fields that no patch is cut from: those of `validation` and of `test`."""
        raise NotImplementedError

    def files(self, folder: Path) -> list[PairFiles]:
        """Every pair under `folder`. Raises ImageError where the layout is not there."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _disjoint(self) -> _Source:
        lists = self.held_out()
        named = [set(one) for one in lists.values() if isinstance(one, tuple)]
        shared = sorted(named[0] & named[1]) if len(named) == 2 else []
        if shared:
            raise ValueError(f"'{shared[0]}' is in validation and in test")
        return self


class PairedFolders(_Source):
    """Paired images and how they are split. Names are file names; a field is in one split only."""

    layout: Literal["folders"] = "folders"
    """Inputs in one folder (or several), targets of the same names in another."""
    low: str | Annotated[tuple[str, ...], Field(min_length=1)] = "lr"
    """Folder of inputs, relative to the data folder. A list mixes noise levels: each of its folders
    shows the same fields, e.g. [avg1, avg4]."""
    high: str = "hr"
    """Folder of targets, relative to the data folder."""
    validation: HeldOut = ()
    """Fields that choose the best weights: file names, or which part of all fields, e.g. 0.1."""
    test: HeldOut = ()
    """Fields that only the final scores see, in the same way. A part is chosen by the names alone:
    the same files give the same split."""

    def held_out(self) -> dict[str, HeldOut]:
        """Names, or parts, of `validation` and of `test`."""
        return {"validation": self.validation, "test": self.test}

    def files(self, folder: Path) -> list[PairFiles]:
        """Every pair; with several folders of inputs their names begin with the folder's.

        Raises:
            ImageError: a folder is missing or empty, or a name has no partner.
        """
        if isinstance(self.low, str):
            return match_names(folder / self.low, folder / self.high)
        return [
            replace(pair, name=f"{low}/{pair.name}")
            for low in self.low
            for pair in match_names(folder / low, folder / self.high)
        ]


class Share(Frozen):
    """How much of every batch a source of a mixture gives."""

    share: Annotated[float, Field(gt=0, le=1)]
    """Part of every batch that comes from here."""
    last_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """That part in the last quarter of the training; the same by default."""

    def share_at(self, progress: float) -> float:
        """Part of a batch, `progress` (0 to 1) through the training."""
        return self.share if self.last_share is None or progress < 0.75 else self.last_share


class MixedFolders(Share):
    """Further pairs, all of them to train on."""

    kind: Literal["folders"]
    """Says that this source is folders of pairs."""
    low: str
    """Folder of inputs, relative to the data folder."""
    high: str
    """Folder of targets of the same names, relative to the data folder."""

    def files(self, folder: Path) -> list[PairFiles]:
        """Every pair. Raises ImageError where a folder or a partner is missing."""
        return match_names(folder / self.low, folder / self.high)


class W2SFolders(_Source):
    """The W2S dataset as its authors publish it (Zhou et al. 2020, https://github.com/IVRL/w2s).

    120 fields in three channels, 512² pixels in `avgN` (the mean of N widefield frames) and 1024²
    in `sim`: as PNG in `train/` and `test/`, or normalised, as `normalized/avgN/FFF_C.npy`. The
    data folder is `data` of their repository, or `normalized` in it. Where both are there the
    normalised ones are read, as the authors advise (their issue 8).
    """

    layout: Literal["w2s"]
    """W2S's own folders and names."""
    noise: Annotated[tuple[Literal[1, 2, 4, 8, 16, 400], ...], Field(min_length=1)] = (1,)
    """Frames averaged in the inputs; several are mixed. 400 is as good as free of noise."""
    channels: Annotated[tuple[Literal[0, 1, 2], ...], Field(min_length=1)] = (0, 1, 2)
    """Channels to take."""
    validation: tuple[Annotated[int, Field(ge=1)], ...] = tuple(range(73, 81))
    """Fields that choose the best weights."""
    test: tuple[Annotated[int, Field(ge=1)], ...] = tuple(range(81, 121))
    """Fields that only the final scores see. The authors': 81 to 120, 120 images; the other 80
    make their 240 training images."""

    def held_out(self) -> dict[str, HeldOut]:
        """Three-digit numbers of the fields in `validation` and in `test`."""
        return {
            role: tuple(f"{number:03}" for number in numbers)
            for role, numbers in (("validation", self.validation), ("test", self.test))
        }

    def files(self, folder: Path) -> list[PairFiles]:
        """Pairs of the chosen noise levels and channels, named like `avg1/081_2.png`.

        Raises:
            ImageError: not W2S, an image without partner or of another name, or a field in both
                `train/` and `test/`.
        """
        found: list[PairFiles] = []
        home: dict[str, Path] = {}
        for root in _w2s_roots(folder):
            targets = self._names(root / "sim")
            for level in (root / f"avg{noise}" for noise in self.noise):
                inputs = self._names(level)
                unpaired = sorted(inputs.keys() ^ targets.keys())
                if unpaired:
                    where = root / "sim" if unpaired[0] in inputs else level
                    raise ImageError(
                        f"no partner for {counted(len(unpaired), 'image')}, first "
                        f"'{unpaired[0]}', missing in {where}"
                    )
                for name, field in inputs.items():
                    if home.setdefault(field, root) != root:
                        raise ImageError(f"{folder}: field {field} is in train/ and in test/")
                    place = f"{level.name}/{name}"
                    found.append(PairFiles(place, field, level / name, root / "sim" / name))
        return found

    def _names(self, folder: Path) -> dict[str, str]:
        """Field of every image of the chosen channels, by file name, in order."""
        fields = {}
        for name in sorted(image_names(folder)):
            match = re.fullmatch(r"(\d{3})_([012])\.\w+", name)
            if match is None:
                raise ImageError(f"{folder / name}: W2S names its images FIELD_CHANNEL, like 081_2")
            if int(match[2]) in self.channels:
                fields[name] = match[1]
        return fields


def _w2s_roots(folder: Path) -> list[Path]:
    for root in (folder / "normalized", folder):
        if (root / "sim").is_dir():
            return [root]
    roots = [root for root in (folder / "train", folder / "test") if (root / "sim").is_dir()]
    if not roots:
        raise ImageError(
            f"{folder}: holds neither normalized/sim, sim, train/sim nor test/sim; give the folder "
            "'data' of W2S"
        )
    return roots


def _layout(value: Any) -> str:
    """Which class reads a `data:` section: the one it names, paired folders where it names none."""
    default = "folders"
    named = value.get("layout", default) if isinstance(value, dict) else default
    return str(getattr(value, "layout", named))


DataSource = Annotated[
    Annotated[PairedFolders, Tag("folders")] | Annotated[W2SFolders, Tag("w2s")],
    Discriminator(_layout),
]
"""A `data:` section, paired folders unless `layout: w2s`."""
