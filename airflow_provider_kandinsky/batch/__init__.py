"""Many generations in one task: what is wanted, what is bought, what came of it."""
