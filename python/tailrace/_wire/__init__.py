"""What this side and the workers speak."""
