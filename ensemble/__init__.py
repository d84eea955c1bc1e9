"""Stage 3, the ensemble: suppression and fusion of saved predictions into one results file. No torch."""
