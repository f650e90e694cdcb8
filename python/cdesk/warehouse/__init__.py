"""Warehouses: what one must do (`base`), the engines, and how one is opened (`opening`)."""

from typing import Final

ENGINES: Final = ("duckdb",)
"""The engines there are, the default first; each has a folder of its name here."""
