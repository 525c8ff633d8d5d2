"""A job made from frames."""
