"""Images in, float32 patches out: read, normalise, pair, cut, simulate."""
