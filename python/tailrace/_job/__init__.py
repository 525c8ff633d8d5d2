"""Runs one job."""
