"""One request's way: from its samples to their results. Read `pipeline.py` first."""
