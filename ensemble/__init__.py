"""Stage 3: from the saved predictions of one or more models to one results file. No torch."""
