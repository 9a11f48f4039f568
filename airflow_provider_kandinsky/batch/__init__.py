"""Many generations in one task: its items, what is in flight, its manifest and its counts."""
