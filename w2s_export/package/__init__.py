"""One description of a model → two flat, reproducible zips, and safe reading of anybody's."""
