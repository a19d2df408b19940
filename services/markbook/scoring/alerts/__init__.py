"""Alerts on spent budgets, outages of the teacher, unscored samples and falling agreement; see
`monitor.py`.
"""
