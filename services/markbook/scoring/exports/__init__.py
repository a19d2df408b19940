"""Marks for other programs: filtered, as JSON lines, CSV or Parquet, or as preference pairs; a
page at a time.
"""
