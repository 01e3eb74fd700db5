"""Data of a report: the frame of planned runs and results, and what is computed from it."""
