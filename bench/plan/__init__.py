"""What is planned: the runs of a suite with their states, their expected time and memory, and shares."""
