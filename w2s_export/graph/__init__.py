"""Builds ONNX graphs."""
