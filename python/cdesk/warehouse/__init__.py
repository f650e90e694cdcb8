"""Warehouses: what one must do (`base`), the engines, and how one is opened (`opening`)."""
