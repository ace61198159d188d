"""Compares checkpoints, and bicubic enlargement, on paired images."""
