"""The GPU process: samples from the student, asks the service for marks, learns from them."""

import logging


def _matters(record: logging.LogRecord) -> bool:
    """Not that bitsandbytes has no faster kernel for a CPU: its own does the same."""
    return not record.getMessage().startswith("Failed to load CPU gemm_4bit_forward")


# bitsandbytes says it as it is imported, which PEFT does by itself wherever it is installed: so
# before anything else
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_matters)
