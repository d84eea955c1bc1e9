"""What can be done to a picture and its labels: pure, seeded functions that touch no file and no process."""
