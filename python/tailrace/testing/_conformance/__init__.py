"""The tests that an adapter has to pass; only who runs them needs pytest."""
