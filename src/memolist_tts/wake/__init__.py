"""How a worker learns that a job waits."""
