"""What calls may cost: limits per run and key, and estimates before a run."""
