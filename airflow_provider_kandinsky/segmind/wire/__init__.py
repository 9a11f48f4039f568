"""Bytes in, schemas out or errors raised: the only room that knows the service's JSON keys."""
