"""Reads weights: one module for each kind of file, all to a checkpoint."""
