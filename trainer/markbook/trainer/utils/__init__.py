"""Signals, timers, CPU threads."""
