"""The schema.

Hashes are binary, money is whole nano-dollars (sums stay exact), times are Unix milliseconds.
"""

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

from markbook.scoring.store import score_sums

metadata = MetaData()

LATENCY_MS = (250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000)
"""Ends of the ranges in which answered calls are counted by the time they took."""
LATENCY_BUCKETS = (*(f"took_{end}" for end in LATENCY_MS), "took_longer")
"""Their columns in ledger_rollups."""

profiles = Table(
    "profiles",
    metadata,
    Column("profile", LargeBinary, primary_key=True),
    Column("identity", Text, nullable=False),  # JSON: what the profile is a hash of
    Column(
        "criteria", Text, nullable=False
    ),  # JSON list: the names of its marks' criteria, in their order
    Column("created_ms", BigInteger, nullable=False),
)

marks = Table(
    "marks",
    metadata,
    Column(
        "key", LargeBinary, primary_key=True
    ),  # profile, prompt hash, code hash, start of the digest, language
    Column(
        "digest", LargeBinary, nullable=False
    ),  # SHA-256 of the whole input, compared on every hit
    Column(
        "criteria", Text, nullable=False
    ),  # JSON list of numbers in [0, 1]; weights and sum are not stored
    Column("reasons", Text),  # JSON list; null where the teacher gave none
    Column(
        "group_id", LargeBinary, nullable=False
    ),  # the samples that the teacher was given together
    Column("created_ms", BigInteger, nullable=False),
    Column(
        "last_used_s", Integer, nullable=False
    ),  # Unix seconds of its last use, to within a minute
    Column(
        "group_position", SmallInteger, nullable=False
    ),  # its place in the request that brought the mark, from 1
    Column("group_size", SmallInteger, nullable=False),  # the samples shown in that request
    Column(
        "run", Text, nullable=False
    ),  # that paid for it; empty where that is not known, as after an import
    Index("marks_used", "last_used_s"),
    sqlite_with_rowid=False,
)

texts = Table(
    "texts",
    metadata,
    Column("key", LargeBinary, primary_key=True),  # of the mark; ends with the language
    Column("task", LargeBinary, nullable=False),  # hash of its task
    Column("code", LargeBinary, nullable=False),  # the extracted code: UTF-8, zlib
    Column("created_ms", BigInteger, nullable=False),
    Column("tests_digest", LargeBinary),  # SHA-256 of the sample's tests; null: it had none
    Index("texts_task", "task"),
    Index("texts_created", "created_ms"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("hash", LargeBinary, primary_key=True),  # SHA-256
    Column("task", LargeBinary, nullable=False),  # the whole task: UTF-8, zlib
)

given_marks = Table(
    "given_marks",
    metadata,
    Column("key", LargeBinary, primary_key=True),  # of the mark
    Column("run", Text, primary_key=True),  # that was given it without having paid for it
    sqlite_with_rowid=False,
)

test_verdicts = Table(
    "test_verdicts",
    metadata,
    Column(
        "digest", LargeBinary, primary_key=True
    ),  # of code, tests, setup, and the sandbox that ran them
    Column("passed", Integer, nullable=False),
    Column("total", Integer, nullable=False),  # tests that ran
    Column("not_run", Integer, nullable=False),  # tests that the sandbox lacks something for
    Column("first_failure", Text),
    Column("created_ms", BigInteger, nullable=False),
    Index("test_verdicts_created", "created_ms"),
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
    Column("tests", Integer, nullable=False),
    Column("cache", Integer, nullable=False),
    Column("coalesced", Integer, nullable=False),
    Column("teacher", Integer, nullable=False),
    Column("unscored", Text),  # JSON: error code -> samples; null when all were scored
    Column(
        "scores", Text
    ),  # JSON: source -> values of score_sums.COLUMNS; null where nothing was scored
    Column(
        "baseline_tokens", BigInteger, nullable=False
    ),  # estimated input of one plain call per scored sample
    Index("ledger_requests_at", "at_ms"),
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
    Column(
        "usage_unknown", Boolean, nullable=False
    ),  # the numbers are a bound, the bill never came
    Column("provider_request_id", Text),
    Column("duration_ms", Integer),  # null: not timed
    Column("failed", Boolean, nullable=False),  # it brought no answer
    Index("ledger_calls_at", "at_ms"),
    Index("ledger_calls_group", "group_id"),
)

sums = Table(
    "ledger_rollups",
    metadata,
    Column("run", Text, primary_key=True),
    Column(
        "at_ms", BigInteger, primary_key=True, autoincrement=False
    ),  # start of a minute; of an hour after a day
    Column("samples", BigInteger, nullable=False),
    Column("heuristic", BigInteger, nullable=False),
    Column("tests", BigInteger, nullable=False),
    Column("cache", BigInteger, nullable=False),
    Column("coalesced", BigInteger, nullable=False),
    Column("teacher", BigInteger, nullable=False),
    Column("unscored", BigInteger, nullable=False),
    Column("baseline_tokens", BigInteger, nullable=False),
    Column(
        "calls", BigInteger, nullable=False
    ),  # with a bill; those without have the columns unknown_
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cache_read_input_tokens", BigInteger, nullable=False),
    Column("cache_creation_input_tokens", BigInteger, nullable=False),
    Column(
        "billed_utokens", BigInteger, nullable=False
    ),  # 1e-6 tokens: whole, so that sums stay exact
    Column("cost_nusd", BigInteger, nullable=False),
    Column("unpriced", BigInteger, nullable=False),  # calls whose model had no price
    Column("unknown_calls", BigInteger, nullable=False),
    Column("unknown_tokens", BigInteger, nullable=False),
    Column("unknown_nusd", BigInteger, nullable=False),
    Column("unknown_unpriced", BigInteger, nullable=False),
    Column("failed_calls", BigInteger, nullable=False),  # of both kinds
    *(Column(name, BigInteger, nullable=False) for name in LATENCY_BUCKETS),
    Index("ledger_rollups_at", "at_ms"),
    sqlite_with_rowid=False,
)

failure_sums = Table(
    "failure_rollups",
    metadata,
    Column("run", Text, primary_key=True),
    Column("code", Text, primary_key=True),
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),  # as in ledger_rollups
    Column("samples", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

score_rollups = Table(
    "score_rollups",
    metadata,
    Column("source", Text, primary_key=True),  # score_sums.ALL: all sources together
    Column("run", Text, primary_key=True),
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),  # as in ledger_rollups
    *(Column(name, BigInteger, nullable=False) for name in score_sums.COLUMNS),
    Index("score_rollups_at", "source", "at_ms"),
    sqlite_with_rowid=False,
)

agreement_rollups = Table(
    "agreement_rollups",
    metadata,
    Column("run", Text, primary_key=True),
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),  # as in ledger_rollups
    Column("profile", LargeBinary, primary_key=True),
    Column("language", Text, primary_key=True),
    Column("passed", Boolean, primary_key=True),  # whether the samples passed all their tests
    Column(
        "percent", SmallInteger, primary_key=True, autoincrement=False
    ),  # the teacher's own correctness
    Column("samples", BigInteger, nullable=False),
    Index("agreement_rollups_at", "at_ms"),
    sqlite_with_rowid=False,
)

run_metrics = Table(
    "run_metrics",
    metadata,
    Column("run", Text, primary_key=True),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("value", Float, nullable=False),
    Column("low", Float),  # ends of its interval; null: it has none
    Column("high", Float),
    Column("at_ms", BigInteger, nullable=False),  # when it was reported last
    Index("run_metrics_at", "run", "at_ms"),
    sqlite_with_rowid=False,
)

reservations = Table(
    "reservations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),  # the process that makes the call
    Column("lease_until_ms", BigInteger, nullable=False),
    Column(
        "line", Text, nullable=False
    ),  # JSON: the row of ledger_calls that it becomes if its owner dies
    Index("reservations_owner", "owner"),
)

accounts = Table(
    "budget_balances",
    metadata,
    Column("scope", Text, primary_key=True),  # "total", "key NAME" or "run NAME"
    Column("nusd", BigInteger, nullable=False),  # 1e-9 US dollars spent, reservations included
    Column("tokens", BigInteger, nullable=False),  # tokens sent and received, likewise
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("name", Text, primary_key=True),  # used once: what a key has spent stays under its name
    Column("digest", LargeBinary, nullable=False),  # SHA-256 of the key, which is random and long
    Column("runs", Text, nullable=False),  # shell pattern of the runs it may use
    Column("limit_nusd", BigInteger),  # its budget in 1e-9 US dollars; null: none
    Column("limit_tokens", BigInteger),
    Column("limit_per", Text),  # "day" or "month"; null: in all
    Column("is_admin", Boolean),  # may make and revoke keys; null: no
    Column("requests_per_minute", Integer),  # null: no limit
    Column("samples_per_minute", Integer),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),  # null: never
    Column("rotated_ms", BigInteger),  # when its secret was replaced last
    Column("last_used_ms", BigInteger),  # to within a minute
    Column("revoked_ms", BigInteger),
)

audits = Table(
    "heuristic_audits",
    metadata,
    Column("digest", LargeBinary, primary_key=True),  # as in marks: a sample is audited once
    Column("profile", LargeBinary, nullable=False),
    Column("key", LargeBinary, nullable=False),  # likewise
    Column("run", Text, nullable=False),  # that paid
    Column("language", Text, nullable=False),
    Column("reason", Text, nullable=False),  # why the heuristic tier rejected the sample
    Column("heuristic_score", Float, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("criteria", Text),  # JSON, as in marks; null while the teacher is asked
    Column("teacher_score", Float),  # their sum under the weights of that day
)

tests_audits = Table(
    "tests_audits",
    metadata,
    Column("digest", LargeBinary, primary_key=True),  # as in heuristic_audits, and so the next two
    Column("profile", LargeBinary, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("run", Text, nullable=False),  # that paid
    Column("language", Text, nullable=False),
    Column("tests_score", Float, nullable=False),  # the sample's mark, which its tests decided
    Column("at_ms", BigInteger, nullable=False),
    Column("criteria", Text),  # JSON; null while the teacher is asked
    Column("teacher_score", Float),  # their sum under the weights of that day
)
