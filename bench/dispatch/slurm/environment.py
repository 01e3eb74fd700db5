"""What Slurm tells a process about the job that it is part of."""

from __future__ import annotations

import os


def cluster_job() -> str:
    """The number of this process's Slurm job, such as 96 or 96_1; "" outside of a job."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}"
    return os.environ.get("SLURM_JOB_ID", "")
