"""The page at `/`: what was asked, what it cost and what came of it. Completion here: no script runs in a browser."""
