"""The affinity family, one file a member."""
