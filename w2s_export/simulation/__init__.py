"""Simulates widefield and SIM images: structures, optics, camera."""
