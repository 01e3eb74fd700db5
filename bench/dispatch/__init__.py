"""Who trains what where: workers, locks and states of runs, on this machine or on a cluster."""
