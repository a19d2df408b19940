"""Logs, metrics and traces of requests and teacher calls."""
