"""What a run reports: metrics, evaluation, curves, checks for reward hacking."""
