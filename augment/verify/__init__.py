"""Verification of a built dataset against its manifest, its digests and the recipe's rule."""
