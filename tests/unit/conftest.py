"""Fixtures for tests of one part at a time."""

from tests.scripted import script

__all__ = ["script"]
