"""What verl's reward manager calls, called the same way. verl itself is not needed for this.

    markbook serve &
    python docs/examples/verl_compute_score.py http://127.0.0.1:8000

verl does this by itself:
    reward.custom_reward_function.path=pkg://markbook.adapters.verl
    +reward.custom_reward_function.reward_kwargs.run=verl-example
    +reward.custom_reward_function.reward_kwargs.language=python
"""

from __future__ import annotations

import asyncio
import sys

from markbook.adapters.verl import compute_score

CODE = (
    '```python\ndef area(width, height):\n    """The area of a rectangle."""\n    return width '
    "* height\n```"
)


async def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    score = await compute_score(
        data_source="markbook/example",
        solution_str=CODE,
        ground_truth=None,
        extra_info={"prompt": "Write a function `area(width, height)`: the area of a rectangle."},
        run="verl-example",
        language="python",
        url=url,
    )
    print(f"score {score:.3f}")


if __name__ == "__main__":
    asyncio.run(main())
