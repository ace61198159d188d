"""Run a package in bioimageio.core: PACKAGE.zip FORMAT INPUTS.npz OUTPUTS.npz, images as detected.

Then core's own test of the package, at its default tolerances; it must pass.
"""

import sys
from importlib.metadata import version

import httpx
import numpy as np
from bioimageio.core import create_prediction_pipeline, load_description, test_description
from bioimageio.core.digest_spec import create_sample_for_model


def refuse(*_):
    raise httpx.ConnectTimeout("offline")  # core takes it for a warning


httpx.HTTPTransport.handle_request = refuse
package, weight_format, inputs, outputs = sys.argv[1:]
model = load_description(package)
pipeline = create_prediction_pipeline(model, weight_format=weight_format)
results = {}
with np.load(inputs) as batches:
    for case in batches.files:
        sample = create_sample_for_model(model, inputs={"input": batches[case]})
        restored = pipeline.predict_sample_without_blocking(sample)
        results[case] = np.asarray(restored.members["output"].data)
np.savez(outputs, **results)
summary = test_description(load_description(package), weight_format=weight_format)
if summary.status != "passed":
    sys.exit(summary.format())
print("bioimageio.core", version("bioimageio.core"))
