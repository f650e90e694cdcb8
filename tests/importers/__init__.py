"""What the import of the official Claude export promises."""
