"""What runs inside the CPython sandbox: two processes that share nothing but a socket. Standard library only.

`subject` has the tested code, `judge` the tests. A name that a test does not define is asked of the subject; what it
answers is read as plain data, so that the tested code never meets the tests, the expected values or the verdict.
"""
