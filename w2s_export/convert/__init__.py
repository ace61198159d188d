"""Converts a generator to ONNX and to a TensorFlow SavedModel, and runs what it wrote."""
