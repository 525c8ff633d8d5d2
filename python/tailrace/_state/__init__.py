"""What outlives a run of a job: the record of what is done, and who runs it."""
