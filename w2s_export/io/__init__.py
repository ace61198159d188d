"""Files: images, archives, atomic writes."""
