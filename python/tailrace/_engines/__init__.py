"""Adapters that hand commands to engines which are there already."""
