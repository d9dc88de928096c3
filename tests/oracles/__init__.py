"""Oracles: the mathematics once more, written from the papers alone, as plain float64 loops to compare others with."""
