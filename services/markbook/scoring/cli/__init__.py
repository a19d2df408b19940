"""The service's commands: one module for each, whose `app` is a Typer app that `markbook.cli`
finds by name.
"""
