"""What runs inside the CPython sandbox: two processes that share nothing but a socket.

Standard library only.

`code_process` has the tested code, `tests_process` the tests. Names that a test does not define
are looked up in the code process. Its answers are read as plain data, so that the tested code never
sees the tests, the expected values or the verdict.
"""
