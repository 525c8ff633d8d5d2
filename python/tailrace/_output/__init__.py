"""A byte's way through a job: masked, logged, read for progress."""
