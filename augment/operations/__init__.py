"""What can be done to an image and its labels: pure, seeded functions that touch no file and no process."""
