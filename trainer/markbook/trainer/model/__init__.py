"""The student: loading, log-probabilities, the frozen reference."""
