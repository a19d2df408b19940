"""The page at `/`: what was asked, what it cost and what came of it. Drawn here: no script runs in a browser."""
