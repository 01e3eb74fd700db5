"""The module from which earlier versions pickled `SlurmJob`. Their jobs may still be in a queue."""

from bench.dispatch.slurm.job import SlurmJob

__all__ = ["SlurmJob"]
