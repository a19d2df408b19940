"""The application: its parts put together, opened and closed in order."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version

from fastapi import FastAPI

from markbook.config.settings import Config, Execution, Service
from markbook.scoring.alerts.monitor import AlertMonitor
from markbook.scoring.api.auth import Authenticator
from markbook.scoring.api.auth_middleware import AuthMiddleware
from markbook.scoring.api.batch_routes import batch_router
from markbook.scoring.api.body_limits import BodyLimits
from markbook.scoring.api.dependencies import AppState
from markbook.scoring.api.docs_page import docs_router
from markbook.scoring.api.error_handlers import handle_errors
from markbook.scoring.api.openapi import TAGS, describe
from markbook.scoring.api.reward_routes import router as compat
from markbook.scoring.api.routers import add_routes
from markbook.scoring.api.routes import router
from markbook.scoring.api.run_routes import run_router
from markbook.scoring.dashboard.keys_routes import create_keys_router
from markbook.scoring.dashboard.routes import create_dashboard_router, create_login_router
from markbook.scoring.dashboard.sample_routes import create_samples_router
from markbook.scoring.execution import Limits, TestRunner, open_runner
from markbook.scoring.heuristics import HeuristicTier
from markbook.scoring.lifespan import Lifespan, lifespan
from markbook.scoring.observability.agreement import AgreementWatch
from markbook.scoring.observability.instrumented_teacher import InstrumentedTeacher
from markbook.scoring.observability.metrics import Metrics
from markbook.scoring.observability.middleware import (
    RequestMiddleware,
    gather_recorder,
    request_counter,
)
from markbook.scoring.observability.tracing import REQUESTS
from markbook.scoring.pipeline.batches import BatchRecorders, BatchService
from markbook.scoring.pipeline.components import Recorders, Tiers
from markbook.scoring.pipeline.explainer import Explainer
from markbook.scoring.pipeline.pipeline import Pipeline
from markbook.scoring.pipeline.sample_weights import sample_weights
from markbook.scoring.pipeline.tests_tier import TestsTier
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.store import RetentionPolicy, Store, StoreObservers
from markbook.scoring.teachers import make_teacher
from markbook.scoring.teachers.protocol import Teacher


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


def _runner(config: Execution) -> TestRunner:
    limits = Limits(config.test_timeout_s, config.sample_timeout_s, config.memory_mib * 1024 * 1024)
    return open_runner(config.confirm, limits=limits, max_waiting=config.max_queued_samples)


def _with_routes(
    lives: Lifespan,
    authenticator: Authenticator,
    config: Service,
    metrics: Metrics,
) -> FastAPI:
    app = FastAPI(
        title="Markbook",
        version=version("markbook"),
        description="Asks a teacher to mark code that students write, keeps every mark, pays for "
        "none twice.",
        lifespan=lives,
        docs_url=None,  # ours loads nothing from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # to the Host that the request names, which may be anybody's
        openapi_tags=TAGS,
        telemetry=REQUESTS,
    )
    pages = (
        *(create_dashboard_router(), create_login_router(authenticator)),
        *(create_samples_router(), create_keys_router(authenticator), docs_router()),
    )
    for routes in (router, batch_router, run_router, compat, *pages):
        add_routes(app, routes)
    app.add_middleware(BodyLimits, limits=config)
    app.add_middleware(
        AuthMiddleware, authenticator=authenticator, allowed_hosts=config.allowed_hosts
    )
    app.add_middleware(RequestMiddleware, requests=metrics.requests)
    handle_errors(app)
    describe(app)
    return app


def create_app(
    config: Config, teacher: Teacher | None = None, clock_ms: Callable[[], int] = unix_ms
) -> FastAPI:
    """The service for `config`. `teacher` and `clock_ms` replace the real ones in tests.

    Opens the store before it returns. Raises ConfigError or StoreUnavailableError when teacher or
    database fail.
    """
    rubric = load_rubric(config.teacher.rubric)
    marker = teacher or make_teacher(config, rubric)
    lease_ms = round(config.store.claim_lease_s * 1000)
    metrics = Metrics()
    store = Store(
        config.store.database_url,
        lease_ms,
        RetentionPolicy.of(config.store),
        metrics.store,
        alert_percent=config.alerts.budget_percent,
        server_time=clock_ms is unix_ms,  # a test that moves its own clock means leases, too
        observers=StoreObservers(metrics.paid_twice.inc, metrics.agreement.observe),
    )
    watched = InstrumentedTeacher(marker, metrics.calls)
    tiers = Tiers(
        HeuristicTier(), TestsTier(_runner(config.execution), store.verdicts, config.rlaif, rubric)
    )
    recorders = Recorders(request_counter(metrics.samples), gather_recorder(metrics.gather_wait))
    pipeline = Pipeline(config, watched, store, tiers, rubric, clock_ms, recorders)
    recorded = BatchRecorders(
        metrics.calls.observe, metrics.samples.observe, pipeline.responses.rejects
    )
    batches = BatchService(config, watched, store, tiers, rubric, clock_ms, recorded)
    metrics.set_build_info(marker, pipeline.profile, lambda: store.claims.held)
    agreement = AgreementWatch(config.rlaif, store, pipeline.profile, metrics.agreement)
    alerts = AlertMonitor(
        config.alerts, marker, store, metrics.alerts, clock_ms, agreement.low_texts
    )
    weights = sample_weights(pipeline.profile, rubric)
    store.open(pipeline.profile, pipeline.identity, clock_ms(), list(rubric.criteria), weights)
    explainer = Explainer(config, pipeline.scorer, store, watched.model, clock_ms)

    authenticator = Authenticator(store.keys, wall=lambda: clock_ms() / 1000)
    app = _with_routes(lifespan(tiers), authenticator, config.service, metrics)
    app.state.markbook = AppState(
        config, marker, store, pipeline, clock_ms, metrics, agreement, alerts, explainer, batches
    )
    return app
