"""Files of weights: written, read, averaged, initialised from, and where their weights come from."""
