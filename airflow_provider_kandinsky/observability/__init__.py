"""Metrics and lineage of a task."""
