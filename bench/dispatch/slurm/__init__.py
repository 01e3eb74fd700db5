"""Everything that knows Slurm: submission, the queue, the site file, and what a job does."""
