"""Run ONNX files inside an old environment: {MODEL.onnx INPUTS.npz OUTPUTS.npz}… Python 3.7 on."""

import sys

import numpy as np
import onnxruntime

for model, inputs, outputs in zip(sys.argv[1::3], sys.argv[2::3], sys.argv[3::3]):  # noqa: B905
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    with np.load(inputs) as batches:
        results = {case: session.run(None, {name: batches[case]})[0] for case in batches.files}
    np.savez(outputs, **results)
print("ONNX Runtime", onnxruntime.__version__)
