"""The demo: a service process, a trainer process, HTTP between them, and a small student that
learns.
"""
