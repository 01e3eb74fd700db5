"""Random numbers in one launch each; `bench.tasks.draws` is the specification and runs everywhere else."""
