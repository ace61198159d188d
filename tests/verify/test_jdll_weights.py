"""Which weights DeepImageJ 3.1 tries first, against what java.util.HashMap gave."""

from __future__ import annotations

import pytest

from w2s_export.verify.clients.jdll_weights import java_hash_order

# java 17: HashMap of `onnx_v<opset>` and the SavedModel's key, the latter put first; opsets 7 to 22
# for which it came out first.
TENSORFLOW_FIRST = {
    "2.7.0": [11, 12, 13, 14, 18, 22],
    "2.16.1": [12, 13, 14],
    "2.18.0": [11, 12, 13, 14, 17, 18, 22],
    "2.10.1": list(range(7, 23)),
    "2.21.0": list(range(7, 23)),
}
# The same with ONNX put first: where both fall into one bucket, the order of insertion decides.
ONNX_PUT_FIRST = {
    "2.7.0": [11, 12, 13, 14, 22],
    "2.16.1": [13, 14],
    "2.18.0": [11, 12, 13, 14, 18, 22],
    "2.10.1": list(range(7, 23)),
    "2.21.0": [opset for opset in range(7, 23) if opset != 20],
}


@pytest.mark.parametrize("version", TENSORFLOW_FIRST)
def test_the_order_is_that_of_a_java_hash_map(version):
    tensorflow = f"tensorflow_saved_model_bundle_v{version}"
    for put_first, expected in ((True, TENSORFLOW_FIRST), (False, ONNX_PUT_FIRST)):
        first = []
        for opset in range(7, 23):
            keys = [tensorflow, f"onnx_v{opset}"]
            if java_hash_order(keys if put_first else keys[::-1])[0] == tensorflow:
                first.append(opset)
        assert first == expected[version]
