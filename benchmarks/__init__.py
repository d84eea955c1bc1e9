"""Benchmarks. A package, so that none of the same name elsewhere on the path takes its place."""
