"""The commands, each in the file that has its name."""
