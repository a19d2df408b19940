"""What OpenRLHF sends to a remote reward model, and what Markbook answers. Needs httpx alone.

    markbook serve &
    python docs/examples/openrlhf_get_reward.py http://127.0.0.1:8000

OpenRLHF does this by itself, given the address: --reward.remote_url 'http://…/get_reward?run=…&language=…'
"""

from __future__ import annotations

import json
import sys

import httpx

TASK = "Write a function `area(width, height)` that returns the area of a rectangle."
PROMPT = f"<|im_start|>user\n{TASK}<|im_end|>\n<|im_start|>assistant\n"
GOOD = (
    '```python\ndef area(width, height):\n    """The area of a rectangle."""\n    return width '
    "* height\n```<|im_end|>"
)
BROKEN = "```python\ndef area(width, height:\n```<|im_end|>"


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    # the label is the task without its chat template, so that the teacher sees nothing else
    label = json.dumps({"prompt": TASK})
    body = {
        "query": [PROMPT + GOOD, PROMPT + BROKEN],
        "prompts": [PROMPT, PROMPT],
        "labels": [label, label],
    }
    answer = httpx.post(
        f"{url}/get_reward", params={"run": "openrlhf-example", "language": "python"}, json=body
    )
    answer.raise_for_status()
    print(json.dumps(answer.json(), indent=2))


if __name__ == "__main__":
    main()
