"""The widget: choose a network, restore the active layer, see how far it is, or stop it."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from napari.qt.threading import thread_worker
from numpy.typing import NDArray
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from w2s_export.counting import counted
from w2s_export.errors import W2SExportError
from w2s_export.foreign_text import shown
from w2s_export.viewer.layers import network_of, placed, restore_layer

if TYPE_CHECKING:
    from napari.viewer import Viewer


_Found = tuple[int, list[NDArray[np.float32]]]
"""By how much the network enlarges; the result, and the spread if it was asked for."""


class RestoreWidget(QWidget):  # type: ignore[misc]  # Qt has no types here
    """Restores the active image layer into a new one."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is ever imported
        self._viewer = napari_viewer
        self.worker: Any = None
        self.path = QLineEdit()
        self.path.setPlaceholderText("default network")
        browse = QPushButton("…")
        browse.clicked.connect(self._browse)
        self.start, self.cancel = QPushButton("Restore the active layer"), QPushButton("Cancel")
        self.start.clicked.connect(self.restore)
        self.cancel.clicked.connect(self.stop)
        self.cancel.setEnabled(False)
        self.uncertainty = QCheckBox("Mean and spread of eight orientations (8 times as long)")
        self.progress, self.message = QProgressBar(), QLabel()
        self.message.setWordWrap(True)
        row, buttons = QHBoxLayout(), QHBoxLayout()
        row.addWidget(self.path)
        row.addWidget(browse)
        buttons.addWidget(self.start)
        buttons.addWidget(self.cancel)
        layout = QVBoxLayout(self)
        layout.addWidget(QLabel("Package or weights"))
        layout.addLayout(row)
        layout.addWidget(self.uncertainty)
        layout.addLayout(buttons)
        layout.addWidget(self.progress)
        layout.addWidget(self.message)
        layout.addStretch()

    def _browse(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Package or weights")
        if chosen:
            self.path.setText(chosen)

    def restore(self) -> None:
        """Begin, in a thread of its own."""
        layer = self._viewer.layers.selection.active
        if not isinstance(layer, Image):
            self.message.setText("Select an image layer first.")
            return
        path, data, rgb = self.path.text(), layer.data, layer.rgb
        uncertainty = self.uncertainty.isChecked()
        self._bad: list[str] = []

        @thread_worker  # type: ignore[untyped-decorator]  # napari has no types here
        def work() -> Generator[tuple[float, str], None, _Found | str]:
            try:
                network = network_of(path)
                made = yield from restore_layer(data, network, rgb=rgb, uncertainty=uncertainty)
            except W2SExportError as error:  # raised, it would open napari's traceback
                return str(error)
            return network.model.scale, made

        self.worker = work()
        self.worker.yielded.connect(self._advance)
        self.worker.returned.connect(lambda found: self._ended(layer, found))
        self.worker.aborted.connect(lambda: self.message.setText("Stopped; nothing was added."))
        self.worker.finished.connect(lambda: self._running(False))
        self._running(True)
        self.progress.setValue(0)
        self.message.setText("Restoring …")
        self.worker.start()

    def stop(self) -> None:
        """Stop after the tile at work."""
        if self.worker is not None:
            self.worker.quit()
            self.message.setText("Stopping …")

    def _running(self, now: bool) -> None:
        self.start.setEnabled(not now)
        self.cancel.setEnabled(now)

    def _advance(self, step: tuple[float, str]) -> None:
        done, reason = step
        self.progress.setValue(round(100 * done))
        if reason:
            self._bad.append(reason)

    def _ended(self, layer: Any, found: _Found | str) -> None:
        if isinstance(found, str):
            self.message.setText(shown(found, lines=True))
        else:
            self._add(layer, *found)

    def _add(self, layer: Any, factor: int, made: list[NDArray[np.float32]]) -> None:
        axes = len(layer.scale)
        extra = made[0].ndim > axes
        settings: dict[str, Any] = placed(layer.scale, layer.translate, factor, new_axis=extra)
        units = list(layer.units)
        if extra:
            units.insert(-2, "pixel")
        settings["units"] = units
        if not layer.rgb:
            settings.update(colormap=layer.colormap, blending=layer.blending)
        for result, what in zip(made, ("restored", "spread"), strict=False):
            self._viewer.add_image(result, name=f"{layer.name} {what}", **settings)
        bad = self._bad
        said = [f"left black: {counted(len(bad), 'plane')}: {bad[0]}"] if bad else []
        said.append("Values are about 0 to 1 between each plane's percentiles.")
        self.message.setText(shown(" ".join(said), lines=True))
