"""How far two images are from each other."""
