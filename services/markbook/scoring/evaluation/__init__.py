"""Measures how well scores agree with a known truth.

Pure functions: no I/O, no clock, every random draw seeded.
"""
