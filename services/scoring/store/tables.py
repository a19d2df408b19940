"""The schema. Hashes are binary, money is whole nano-dollars (sums stay exact), times are Unix milliseconds."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

metadata = MetaData()

profiles = Table(
    "profiles",
    metadata,
    Column("profile", LargeBinary, primary_key=True),
    Column("identity", Text, nullable=False),  # JSON: what the profile is a hash of
    Column("created_ms", BigInteger, nullable=False),
)

marks = Table(
    "marks",
    metadata,
    Column("key", LargeBinary, primary_key=True),  # profile, prompt hash, code hash, language
    Column("digest", LargeBinary, nullable=False),  # SHA-256 of the whole input, compared on every hit
    Column("criteria", Text, nullable=False),  # JSON: criterion -> [0, 1]; weights and sum are not stored
    Column("reasons", Text),  # JSON list; null where the teacher gave none
    Column("created_ms", BigInteger, nullable=False),
    Column("group_id", LargeBinary, nullable=False),  # the samples that the teacher was given together
    Column("group_position", SmallInteger, nullable=False),  # its place in the request that brought the mark, from 1
    Column("group_size", SmallInteger, nullable=False),  # the samples shown in that request
    sqlite_with_rowid=False,
)

claims = Table(
    "claims",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("owner", Text, nullable=False),  # the process that asks
    Column("lease_until_ms", BigInteger, nullable=False),
    Column("failure", Text),  # JSON: what the call ended with, for those who wait
    Index("claims_owner", "owner"),
)

requests = Table(
    "ledger_requests",
    metadata,
    Column("request_id", Text, primary_key=True),  # sent again, a request is counted once
    Column("run", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("heuristic", Integer, nullable=False),
    Column("cache", Integer, nullable=False),
    Column("coalesced", Integer, nullable=False),
    Column("teacher", Integer, nullable=False),
    Column("unscored", Text),  # JSON: error code -> samples; null when all were scored
    Column("plain_tokens", BigInteger, nullable=False),  # estimated input of one plain call a sample
    Index("ledger_requests_run", "run", "at_ms"),
)

calls = Table(
    "ledger_calls",
    metadata,
    Column("id", Text, primary_key=True),  # of the reservation it settles
    Column("run", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("group_id", LargeBinary, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cache_read_input_tokens", BigInteger, nullable=False),
    Column("cache_creation_input_tokens", BigInteger, nullable=False),
    Column("billed_input_equivalent", Float, nullable=False),
    Column("cost_nusd", BigInteger),  # 1e-9 US dollars; null: price of the model not known
    Column("usage_unknown", Boolean, nullable=False),  # the numbers are a bound, the bill never came
    Column("provider_request_id", Text),
    Index("ledger_calls_run", "run", "at_ms"),
)

reservations = Table(
    "reservations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),  # the process that makes the call
    Column("lease_until_ms", BigInteger, nullable=False),
    Column("line", Text, nullable=False),  # JSON: the row of ledger_calls that it becomes if its owner dies
    Index("reservations_owner", "owner"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("scope", Text, primary_key=True),  # "total" or "run NAME"
    Column("nusd", BigInteger, nullable=False),  # 1e-9 US dollars spent, reservations included
    Column("tokens", BigInteger, nullable=False),  # tokens sent and received, likewise
)
