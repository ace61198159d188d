"""The RRDBNet family: layout (names and shapes), blocks, generator."""
