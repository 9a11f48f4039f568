"""Requests to the service: the two clients, the rate limit, and what of a request may be logged."""
