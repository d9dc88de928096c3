"""Beam jobs: launched, watched, counted, and what their processes hold."""
