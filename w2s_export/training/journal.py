"""What a training writes down for people: CSV files, TensorBoard, pictures.

`losses-PHASE.csv` has a row a step, `scores-PHASE.csv` a row a validation. TensorBoard's records
are written by TensorFlow alone: its viewer need not be installed to train.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Journal:
    """The records of one phase in a folder."""

    def __init__(self, folder: Path, phase: str, step: int) -> None:
        """Go on after `step`: rows of later steps, of a run that was killed, are dropped."""
        import tensorflow as tf

        self._folder, self._phase = folder, phase
        for name in ("losses", "scores"):
            _forget_after(self._csv(name), step)
        self._events = tf.summary.create_file_writer(str(folder / "tensorboard"))

    def losses(self, step: int, values: Mapping[str, float]) -> None:
        """Learning rate and losses of a step."""
        self._record("losses", step, values)

    def scores(self, step: int, values: Mapping[str, float], picture: bytes) -> None:
        """Scores of a validation, and its picture (PNG)."""
        import tensorflow as tf
        from PIL import Image

        self._record("scores", step, values)
        place = self._folder / "pictures"
        place.mkdir(exist_ok=True)
        (place / f"{self._phase}-{step:07d}.png").write_bytes(picture)
        width, height = Image.open(io.BytesIO(picture)).size
        with self._events.as_default(step):
            shown = tf.constant([str(width).encode(), str(height).encode(), picture])
            tf.summary.write("fields", shown, metadata=_metadata("images"))
        self._events.flush()

    def _record(self, name: str, step: int, values: Mapping[str, float]) -> None:
        import tensorflow as tf

        row: dict[str, Any] = {"step": step, **{k: f"{v:.9g}" for k, v in values.items()}}
        path = self._csv(name)
        fresh = not path.exists()
        with path.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, list(row), lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        with self._events.as_default(step):
            for key, value in values.items():
                tf.summary.write(
                    f"{name}/{key}", tf.constant(value, tf.float32), metadata=_metadata("scalars")
                )

    def _csv(self, name: str) -> Path:
        return self._folder / f"{name}-{self._phase}.csv"


def _metadata(plugin: str) -> Any:
    """Tells TensorBoard which of its plugins shows a record."""
    import tensorflow as tf

    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name = plugin
    metadata.data_class = 1 if plugin == "scalars" else 3  # DATA_CLASS_SCALAR, …_BLOB_SEQUENCE
    return metadata


def _forget_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    numbered = [(line.split(",")[0], line) for line in lines[1:] if line.endswith("\n")]
    kept = [line for number, line in numbered if number.isdigit() and int(number) <= step]
    beside = path.with_name(f".{path.name}.part")
    beside.write_text("".join([*lines[:1], *kept]), newline="\n")
    beside.replace(path)
