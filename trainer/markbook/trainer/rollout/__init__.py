"""Samples from the student: in this process, or by a vLLM server."""
