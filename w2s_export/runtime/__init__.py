"""Runs a written network: one session for export, verification and restoration."""
