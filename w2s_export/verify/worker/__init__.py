"""Foreign weights, and bioimageio.core's own test of a package, in a confined process."""
