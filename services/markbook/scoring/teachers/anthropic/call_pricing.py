"""Prices a call: by the provider's token counts, or at the most that it can have cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from markbook.config.settings import Price
from markbook.scoring.teachers.anthropic.pricing import Tokens, billed_input_equivalent, cost_usd
from markbook.scoring.types import TeacherCall


@dataclass(frozen=True, slots=True)
class CallPricer:
    """Prices calls of one model.

    Without `price`, tokens are known and dollars are not. `factor`: times all prices.
    """

    model: str
    price: Price | None
    cache_ttl: Literal["5m", "1h"]
    factor: float = 1.0

    def free(self, outcome: str, request_id: str | None = None) -> TeacherCall:
        """An attempt that is not billed: an error response, or one that was never sent."""
        return TeacherCall(self.model, outcome, provider_request_id=request_id)

    def counted(self, outcome: str, tokens: Tokens, request_id: str | None) -> TeacherCall:
        return self._call(outcome, tokens, request_id, unknown=False)

    def bound(self, outcome: str, system: str, text: str, max_tokens: int) -> TeacherCall:
        """The most a call can cost: system prompt written to the cache, text sent, all reply tokens
        used.

        A byte is at most one token; an eighth and 64 tokens are added for rare characters and
        message framing.
        """
        hour = self.cache_ttl == "1h"
        rubric = len(system.encode())
        tokens = Tokens(
            input=len(text.encode()) * 9 // 8 + 64,
            output=max_tokens,
            cache_write_5m=0 if hour else rubric,
            cache_write_1h=rubric if hour else 0,
        )
        return self._call(outcome, tokens, None, unknown=True)

    def _call(
        self, outcome: str, tokens: Tokens, request_id: str | None, *, unknown: bool
    ) -> TeacherCall:
        return TeacherCall(
            self.model,
            outcome,
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            cache_read_input_tokens=tokens.cache_read,
            cache_creation_input_tokens=tokens.cache_write,
            cost_usd=None if self.price is None else cost_usd(tokens, self.price) * self.factor,
            billed_input_equivalent=billed_input_equivalent(tokens, self.price) * self.factor,
            usage_unknown=unknown,
            provider_request_id=request_id,
        )
