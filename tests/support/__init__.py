"""What tests of several packages share."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The folder of the whole project."""
