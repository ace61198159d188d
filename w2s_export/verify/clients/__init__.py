"""Models of the clients: JDLL's reading and tiling, bioimageio.core's processing and test."""
