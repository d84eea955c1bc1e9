"""Checkpoints: saved and read, averaged, used as initial weights, and their lineage."""
