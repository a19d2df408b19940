"""What NeMo Gym sends to a verifier, and what Markbook answers. Needs httpx alone.

markbook serve &
python docs/examples/nemo_gym_verify.py http://127.0.0.1:8000
"""

from __future__ import annotations

import json
import sys

import httpx

ROW = {
    "responses_create_params": {
        "input": [
            {"role": "system", "content": "Answer with one fenced code block."},
            {
                "role": "user",
                "content": "Write a function `area(width, height)`: the area of a rectangle.",
            },
        ]
    },
    "verifier_metadata": {"language": "python", "run": "nemo-gym-example"},
}
CODE = (
    '```python\ndef area(width, height):\n    """The area of a rectangle."""\n    return width '
    "* height\n```"
)
RESPONSE = {
    "id": "resp_1",
    "created_at": 0.0,
    "model": "student",
    "object": "response",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": CODE, "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    answer = httpx.post(f"{url}/verify", json=ROW | {"response": RESPONSE})
    answer.raise_for_status()
    print(json.dumps({name: answer.json()[name] for name in ("reward", "markbook")}, indent=2))


if __name__ == "__main__":
    main()
