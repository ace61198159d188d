"""A configuration to begin with, written for images that are there: `train --init`."""

from __future__ import annotations

from pathlib import Path

from w2s_export.counting import counted
from w2s_export.data.layouts import DataSource, PairedFolders, W2SFolders
from w2s_export.data.pairs import PairFiles, image_names, pixel_size_um, read_plane
from w2s_export.errors import ConfigError, ImageError, OutputError
from w2s_export.io.files import write_atomically
from w2s_export.training.config import TrainingConfig
from w2s_export.training.config_reference import meanings

_PAIRS = (("lr", "hr"), ("low", "high"), ("input", "target"), ("widefield", "sim"), ("avg1", "sim"))
_TOGETHER = 3  # fields below which nothing can be held out


def write_starter(path: Path, folder: Path) -> Path:
    """Look at the pairs under `folder` and write a commented configuration for them.

    Raises:
        ConfigError: no pairs are found, or fewer than three.
        ImageError: a pair cannot be read, or its sizes do not match.
        OutputError: the file exists already, or cannot be written.
    """
    if path.exists():
        raise OutputError(f"{path}: exists already; give another name")
    source, files = _find(folder)
    if len({file.field for file in files}) < _TOGETHER:
        raise ConfigError(
            f"{folder}: holds {counted(len(files), 'pair')}; a training needs three or more"
        )
    low, high = (read_plane(one, files[0].plane).pixels[0] for one in (files[0].low, files[0].high))
    scale = high.shape[1] // low.shape[1]
    if scale not in (1, 2, 4):
        raise ConfigError(f"{folder}: targets are {scale} times their inputs; 1, 2 and 4 are known")
    patch = min(48, min(low.shape[1:]) // 4 * 4)
    pixel = pixel_size_um(files[0])
    known = f", pixel_size_um: {pixel:.6g}" if pixel else ""
    values = {
        "name": _name(folder),
        "data": _as_yaml(source),
        "generator": f"{{nf: 32, gc: 16, nb: 3, in_nc: {len(low)}, out_nc: {len(high)}, "
        f"scale: {scale}}}",
        "normalisation": "{kind: percentile, low: 1.0, high: 99.8}",
        "target_normalisation": "{kind: percentile, low: 1.0, high: 99.8}",
        "patch": str(patch),
        "batch": "4",
        "steps": "2500",
        "schedule": "{kind: cosine, initial: 6.0e-4, final: 2.0e-6, warmup_steps: 60}",
        "ema": "0.99",
        "seed": "1",
        "validate_every": "100",
        "provenance": f"{{data: '', license: ''{known}}}",
    }
    lines = [
        f"# w2s-export train {path} --data {folder} --output trained",
        "# Every key, with its default: w2s-export train --explain",
    ]
    meaning = meanings(TrainingConfig)
    for key, value in values.items():
        lines += [f"# {meaning[key]}", f"{key}: {value}"]
    write_atomically(path, ("\n".join(lines) + "\n").encode())
    return path


def _find(folder: Path) -> tuple[DataSource, list[PairFiles]]:
    """The layout of the data folder, and its pairs."""
    try:
        w2s = W2SFolders(layout="w2s")
        return w2s, w2s.files(folder)
    except ImageError:
        pass
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    for low, high in _PAIRS:
        if {low, high} <= names:
            few = len(image_names(folder / low)) < 10
            part = 0.34 if few else 0.1
            pairs = PairedFolders(low=low, high=high, validation=part, test=part)
            return pairs, pairs.files(folder)
    raise ConfigError(
        f"{folder}: holds no folders of pairs that are known by name "
        f"({', '.join(f'{low}/ and {high}/' for low, high in _PAIRS)}), nor W2S"
    )


def _as_yaml(source: DataSource) -> str:
    if isinstance(source, W2SFolders):
        return "{layout: w2s, noise: [1]}"
    return (
        f"{{low: {source.low}, high: {source.high}, validation: {source.validation}, "
        f"test: {source.test}}}"
    )


def _name(folder: Path) -> str:
    letters = "".join(c if c.isascii() and c.isalnum() else "-" for c in folder.resolve().name)
    return f"wf2sim-{letters.strip('-') or 'model'}"[:128]
