"""Markbook's marks inside other people's trainers.

Nothing here imports torch, and but for skyrl.py no trainer.
"""
