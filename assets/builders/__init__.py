"""Programs that made the shipped assets; they need the extra `[build]`."""
