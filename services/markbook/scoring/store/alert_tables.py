"""The tables of what budgets have spent by day, and of alerts. Money and times as in tables.py."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from markbook.scoring.store.tables import metadata

budget_days = Table(
    "budget_days",
    metadata,
    Column("scope", Text, primary_key=True),  # as in budget_balances
    Column("day", Integer, primary_key=True, autoincrement=False),  # UTC, days since 1970-01-01
    Column("nusd", BigInteger, nullable=False),  # 1e-9 US dollars of the calls reserved on that day
    Column("tokens", BigInteger, nullable=False),
    Index("budget_days_day", "day"),
    sqlite_with_rowid=False,
)

alerts = Table(
    "alerts",
    metadata,
    Column(
        "event", Text, primary_key=True
    ),  # what it is about; of a budget also its limit, percent and period
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),  # when it was raised last
    Column("attempts", Integer, nullable=False),  # deliveries tried since
    Column("next_attempt_ms", BigInteger),  # null: delivered, given up, or there was no webhook
    Index("alerts_next_attempt", "next_attempt_ms"),
)
