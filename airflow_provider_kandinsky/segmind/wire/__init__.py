"""Bytes in, schemas out or errors raised: the only place that knows the names of the service's JSON keys."""
