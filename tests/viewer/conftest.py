"""The network that can be computed by hand, here too."""

from tests.restore.conftest import box_network, box_onnx

__all__ = ["box_network", "box_onnx"]
