"""Writes a network down: one module for each format."""
