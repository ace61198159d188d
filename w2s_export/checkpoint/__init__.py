"""Checkpoints: one module per source format, all giving the same `Checkpoint`."""
