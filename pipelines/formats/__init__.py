"""Readers of raw formats: one module each, with `survey(file, path, given)` and `read(file, path, given, survey)`."""
