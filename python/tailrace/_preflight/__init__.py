"""What a job needs of this machine, looked for before its first chunk."""
