"""Beam jobs: launched, watched, counted; and what a process may hold and holds, of a training too."""
