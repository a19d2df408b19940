"""Merges a run's adapter into its base model: `markbook merge`."""
