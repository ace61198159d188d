"""Restores images of any size: tiles, and the context they need."""
