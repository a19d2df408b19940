"""The dashboard at `/`: usage, cost and scores by run.

Rendered on the server; no script runs in the browser.
"""
