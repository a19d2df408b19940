"""vLLM's server in build/vllm-venv, on the CPU: what `make vllm-test` installs there, and how
the tests start it.
"""
