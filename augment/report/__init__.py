"""The report of a finished build: one HTML page, made from the files of the build alone."""
