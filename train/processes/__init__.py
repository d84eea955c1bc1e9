"""Several processes that train together, and the signals that end them."""
