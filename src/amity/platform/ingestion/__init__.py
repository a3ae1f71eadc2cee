"""Stage 3: the doors that take records in, check them and put them on the log."""
