"""vLLM's server in build/vllm-venv, on the CPU: what `make test-long` installs there, and how the tests start it."""
