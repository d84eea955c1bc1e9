"""Whether a built dataset is what its manifest says."""
