"""Builds: inputs read and checked, every source compiled in a worker, the dataset on disk whole or not at all."""
