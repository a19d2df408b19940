"""Scores from the service, and what to do without them."""
