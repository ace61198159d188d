"""Verifies finished packages: by numbers in their runtimes, by the rules of their clients."""
