"""Evidence: what each way to make training data, or to train, brings on how many images, with intervals."""
