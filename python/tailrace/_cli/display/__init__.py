"""How a job is shown: on a terminal, as lines or as JSON."""
