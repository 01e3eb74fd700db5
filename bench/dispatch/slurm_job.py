"""The name under which earlier versions pickled their jobs, which may still be in a queue."""

from bench.dispatch.slurm.job import SlurmJob

__all__ = ["SlurmJob"]
