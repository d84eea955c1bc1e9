"""The page of a run: one static HTML file, made from what the run has left on disk."""
