"""Evidence: which ways to make training data or to train help, on how many pictures, and by how much."""
