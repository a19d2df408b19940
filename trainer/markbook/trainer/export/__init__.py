"""Merges a run's adapter into its base model: `python -m markbook.trainer.export`."""
