"""How long marks, texts and ledger lines are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from markbook.config.settings import StoreConfig

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Ages in milliseconds; None: without limit. `keep_rejects`: samples listed that a tier
    decided; 0: none. `keep_exchanges`: requests to the teacher with their replies, likewise.
    """

    store_samples: bool = True
    texts_max_age_ms: int | None = None
    max_age_ms: int | None = None
    max_entries: int | None = None
    lines_max_age_ms: int | None = None
    keep_rejects: int | None = None
    keep_exchanges: int = 0
    batches_max_age_ms: int | None = None

    @classmethod
    def of(cls, config: StoreConfig) -> Self:
        return cls(
            config.store_samples,
            _milliseconds(config.sample_retention_days),
            _milliseconds(config.cache_max_age_days),
            config.cache_max_entries,
            _milliseconds(config.ledger_retention_days),
            config.keep_rejects,
            config.keep_exchanges,
            _milliseconds(config.batch_retention_days),
        )

    def oldest_ms(self, now_ms: int) -> int:
        """Marks made before this time are expired."""
        return 0 if self.max_age_ms is None else now_ms - self.max_age_ms


UNLIMITED = RetentionPolicy()


def _milliseconds(days: float | None) -> int | None:
    return None if days is None else round(days * DAY_MS)
