"""Many jobs, kept over weeks."""
