"""What `awe tune` searches, and what it keeps of its trials."""
