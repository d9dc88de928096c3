"""The datasets' filesystem: folders of this machine, buckets, and whatever Beam knows."""
