"""An emulator of the Messages API: a real HTTP server with the provider's rules, bills and faults,
and stand-in judges.

Written from the provider's documentation; the paid API was never reached, so where it errs, tests
err with it. `python -m tests.emulator --port 8089` runs it alone; `tests.emulator.server.Emulator`
runs it inside a test.
"""
