"""Opens the widget beside napari's viewer model without a screen: restores, stops, is looked at.

`nox -s napari` runs it. It is no test of pytest's: napari's own plugin for pytest warns on import,
and warnings are errors here.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication


def wait(widget: object, seconds: float = 120) -> None:
    """Until the worker has ended."""
    end = time.monotonic() + seconds
    while widget.cancel.isEnabled():  # type: ignore[attr-defined]
        QApplication.processEvents()
        assert time.monotonic() < end
        time.sleep(0.01)
    QApplication.processEvents()


def main(picture: str, manifest: str) -> None:
    """Everything, in one viewer."""
    from npe2 import PluginManifest

    application = QApplication([])
    stated = PluginManifest.from_file(manifest)
    command = stated.contributions.commands[0]
    viewer = ViewerModel()  # the canvas needs OpenGL, which no build machine has
    module, _, name = command.python_name.partition(":")
    widget = getattr(importlib.import_module(module), name)(viewer)
    widget.show()
    widget.restore()
    assert "Select an image layer" in widget.message.text()
    pixels = np.random.default_rng(0).integers(0, 4000, (2, 64, 80)).astype(np.uint16)
    layer = viewer.add_image(
        pixels, name="cells", scale=(0.5, 0.2, 0.2), translate=(0, 1, 1), colormap="magenta",
        units=("um", "um", "um"),
    )  # fmt: skip
    widget.restore()
    wait(widget)
    assert len(viewer.layers) == 2, widget.message.text()
    result = viewer.layers[-1]
    assert result.name == "cells restored"
    assert result.data.shape == (2, 128, 160)
    np.testing.assert_allclose(result.scale, (0.5, 0.1, 0.1))
    np.testing.assert_allclose(result.translate, (0, 0.95, 0.95))
    assert result.units == layer.units
    assert result.colormap.name == "magenta"
    assert widget.progress.value() == 100
    widget.adjustSize()
    widget.grab().save(picture)
    colours = viewer.add_image(
        np.random.default_rng(1).integers(0, 255, (64, 80, 3)).astype(np.uint8), name="rgb",
        scale=(0.2, 0.4),
    )  # fmt: skip
    assert colours.rgb
    widget.restore()
    wait(widget)
    result = viewer.layers[-1]
    assert result.name == "rgb restored", widget.message.text()
    assert result.data.shape == (3, 128, 160)
    np.testing.assert_allclose(result.scale, (1, 0.1, 0.2))
    hyperstack = np.random.default_rng(2).integers(0, 4000, (2, 1, 2, 64, 80)).astype(np.uint16)
    hyperstack[1, 0, 0] = 7
    viewer.add_image(hyperstack, name="many axes", scale=(5, 1, 0.5, 0.2, 0.2))
    widget.restore()
    wait(widget)
    result = viewer.layers[-1]
    assert result.data.shape == (2, 1, 2, 128, 160), widget.message.text()
    np.testing.assert_allclose(result.scale, (5, 1, 0.5, 0.1, 0.1))
    assert "left black: 1 plane: plane (1, 0, 0)" in widget.message.text()
    count = len(viewer.layers)
    viewer.layers.selection.active = viewer.add_image(np.tile(pixels, (8, 4, 4)), name="many")
    widget.restore()
    widget.stop()
    wait(widget)
    assert len(viewer.layers) == count + 1
    assert "Stopped" in widget.message.text()
    widget.path.setText("/none.zip")
    widget.restore()
    wait(widget)
    assert "is not there" in widget.message.text()
    print("napari: restored, stopped, refused")
    application.quit()


if __name__ == "__main__":
    main(sys.argv[1], str(Path(__file__).parents[2] / "w2s_export" / "viewer" / "napari.yaml"))
