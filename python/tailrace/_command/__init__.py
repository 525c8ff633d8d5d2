"""One command: the contract between the executor and the adapters that run it."""
