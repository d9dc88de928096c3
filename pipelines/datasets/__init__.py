"""Datasets and models on disk, as stages and jobs see them: written part by part, listed, and read in blocks."""
