"""A page to listen to a list on: one file that needs nothing else."""
