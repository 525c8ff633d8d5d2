"""Commands on the nodes of a Slurm cluster."""
