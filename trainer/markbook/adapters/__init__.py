"""Markbook's marks inside other people's trainers. Nothing here imports them, nor torch."""
