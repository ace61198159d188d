"""Run SavedModels in an old environment: {MODEL.zip INPUTS.npz OUTPUTS.npz}… Python 3.7 on."""

import sys
import tempfile
import zipfile

import numpy as np
import tensorflow as tf

SIGNATURE = "serving_default"


def run_version_1(folder, batches):
    """Run as DeepImageJ's TensorFlow 1.15 does: a session, the tag `serve`, the signature."""
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], folder)
        signature = graph.signature_def[SIGNATURE]
        source, target = signature.inputs["input"].name, signature.outputs["output"].name
        return {case: session.run(target, {source: batch}) for case, batch in batches.items()}


def run_version_2(folder, batches):
    """Run as today's TensorFlow does: a function that returns a dictionary."""
    function = tf.saved_model.load(folder).signatures[SIGNATURE]
    return {
        case: function(input=tf.constant(batch))["output"].numpy()
        for case, batch in batches.items()
    }


run = run_version_1 if tf.__version__.startswith("1.") else run_version_2
for model, inputs, outputs in zip(sys.argv[1::3], sys.argv[2::3], sys.argv[3::3]):  # noqa: B905
    with np.load(inputs) as archive:
        cases = {case: archive[case] for case in archive.files}
    with tempfile.TemporaryDirectory() as temporary:
        with zipfile.ZipFile(model) as archive:
            archive.extractall(temporary)
        results = run(temporary, cases)
    np.savez(outputs, **results)
print("TensorFlow", tf.__version__)
