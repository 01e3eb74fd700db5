"""Training: from a stack of runs to their results."""

CHECKPOINT = "checkpoint.pt"
"""Name of the file from which a stack resumes, in its state folder."""


class Interrupted(Exception):
    """Training stopped on request, after saving its state."""
