"""Fixtures for tests over real HTTP."""

from tests.emulator.fixtures import claude, emulator, emulator_process, passing_time

__all__ = ["claude", "emulator", "emulator_process", "passing_time"]
