"""The steps of ingest: files found, surveyed, read, split, reconciled and written."""
