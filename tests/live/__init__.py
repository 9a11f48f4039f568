"""Ask the real service what could only be assumed of it: ``make live``."""
