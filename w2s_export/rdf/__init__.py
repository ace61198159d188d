"""The description of a package, and its two formats."""
