"""All that is particular to Slurm: the site file, submission, the queue, and what a job does."""
