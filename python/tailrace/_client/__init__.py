"""A farm whose server is elsewhere."""
