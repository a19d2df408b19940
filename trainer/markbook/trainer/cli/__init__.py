"""The trainer's commands: `markbook train` and `markbook merge`. torch is imported after their
arguments are read.
"""
