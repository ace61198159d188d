"""Training: pairs and a configuration in, a checkpoint out."""
