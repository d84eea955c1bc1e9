"""Benchmarks. A package, so that no other of that name on the path is imported instead."""
