"""The scoring service: asks a teacher to mark samples, keeps every mark, never pays for the same
one twice.
"""
