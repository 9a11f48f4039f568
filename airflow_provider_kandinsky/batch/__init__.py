"""Many generations in one task: its items, its waves, its manifest and its counts."""
