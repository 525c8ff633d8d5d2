"""How a repository of each version becomes one of the next."""
