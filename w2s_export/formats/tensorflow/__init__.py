"""ONNX operations written as TensorFlow operations that TensorFlow 1.15 has."""
