"""What stands on disk, as stages and jobs see it: written part by part, listed, and read in blocks."""
