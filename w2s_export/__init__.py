"""Turns a trained microscopy super-resolution network into verified packages.

The stages, in the order data flows:

    images ──pairs──▶ patches ──train──▶ weights
    weights ──load──▶ generator ──convert──▶ ONNX, SavedModel
    ONNX, SavedModel ──package──▶ two zips ──verify──▶ report

`checkpoint` loads, `networks` builds, `convert` writes the formats, `package` makes the zips,
`verify` proves them; `data` and `training` make the weights; `restore` runs them on images of any
size; `export` strings the stages together; `cli` is the command line.
"""

import os

# ONNX Runtime from 1.32 on sends telemetry unless told otherwise before it is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
