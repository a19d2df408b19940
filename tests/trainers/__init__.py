"""Programs that run other trainers' own code on Markbook's adapters, in the environment
build/trainers-venv.

Each is started by tests/integration/test_other_trainers.py as `python -m tests.trainers.NAME
OPTIONS`, with OPTIONS as JSON, and prints its findings as JSON on the last line.
"""
