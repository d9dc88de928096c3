"""A run that stands, asked: its models, labels and vectors, and the annotation of new rows."""
