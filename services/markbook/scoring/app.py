"""The application: its parts put together, opened and closed in order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI

from markbook.config.settings import Config, Execution, Service
from markbook.scoring.api.auth import Authenticator
from markbook.scoring.api.auth_middleware import AuthMiddleware
from markbook.scoring.api.batch_routes import batch_router
from markbook.scoring.api.body_limits import BodyLimits
from markbook.scoring.api.dependencies import AppState
from markbook.scoring.api.docs_page import docs_router
from markbook.scoring.api.error_handlers import handle_errors
from markbook.scoring.api.error_responses import error_responses
from markbook.scoring.api.openapi import TAGS, describe, operation_id
from markbook.scoring.api.query_parameters import check_query
from markbook.scoring.api.reward_routes import router as compat
from markbook.scoring.api.routes import router
from markbook.scoring.api.run_routes import run_router
from markbook.scoring.background import renew_leases, run_maintenance
from markbook.scoring.dashboard.routes import create_dashboard_router
from markbook.scoring.execution import Limits, TestRunner, open_runner
from markbook.scoring.heuristics import HeuristicTier
from markbook.scoring.observability.instrumented_teacher import InstrumentedTeacher
from markbook.scoring.observability.metrics import Metrics
from markbook.scoring.observability.middleware import RequestMiddleware, gather_recorder, request_counter
from markbook.scoring.observability.tracing import REQUESTS
from markbook.scoring.pipeline.batches import BatchService
from markbook.scoring.pipeline.pipeline import Pipeline
from markbook.scoring.pipeline.tests_tier import TestsTier
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.store import RetentionPolicy, Store
from markbook.scoring.teachers import make_teacher
from markbook.scoring.teachers.protocol import Teacher

log = logging.getLogger("markbook")


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


def _log_death(task: asyncio.Task[None]) -> None:
    """These background tasks are never awaited: log it if one dies."""
    if not task.cancelled() and (error := task.exception()):
        log.critical("background task %s died, restart the service: %s", task.get_name(), error, exc_info=error)


def _runner(config: Execution) -> TestRunner:
    limits = Limits(config.test_timeout_s, config.sample_timeout_s, config.memory_mib * 1024 * 1024)
    return open_runner(config.confirm, limits=limits, max_waiting=config.max_queued_samples)


def _with_routes(
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]], store: Store, config: Service, metrics: Metrics
) -> FastAPI:
    app = FastAPI(
        title="Markbook",
        version=version("markbook"),
        description="Asks a teacher to mark code that students write, keeps every mark, pays for none twice.",
        lifespan=lifespan,
        docs_url=None,  # ours loads nothing from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # to the Host that the request names, which may be anybody's
        dependencies=[Depends(check_query)],
        responses=error_responses(422),  # of check_query, and of each route's own parameters
        generate_unique_id_function=operation_id,
        openapi_tags=TAGS,
        telemetry=REQUESTS,
    )
    authenticator = Authenticator(store.keys)
    for routes in (router, batch_router, run_router, compat, create_dashboard_router(authenticator), docs_router()):
        app.include_router(routes)
    app.add_middleware(BodyLimits, limits=config)
    app.add_middleware(AuthMiddleware, authenticator=authenticator, allowed_hosts=config.allowed_hosts)
    app.add_middleware(RequestMiddleware, requests=metrics.requests)
    handle_errors(app)
    describe(app)
    return app


def create_app(config: Config, teacher: Teacher | None = None, clock_ms: Callable[[], int] = unix_ms) -> FastAPI:
    """The service for `config`. `teacher` and `clock_ms` replace the real ones in tests.

    Opens the store before it returns. Raises ConfigError or StoreUnavailableError when teacher or database fail.
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
        server_time=clock_ms is unix_ms,  # a test that moves its own clock means leases, too
        on_paid_twice=metrics.paid_twice.inc,
    )
    tier = HeuristicTier()
    watched = InstrumentedTeacher(marker, metrics.calls)
    tests = TestsTier(_runner(config.execution), store.verdicts, config.rlaif, rubric)
    recorders = request_counter(metrics.samples), gather_recorder(metrics.gather_wait)
    pipeline = Pipeline(config, watched, store, tier, tests, rubric, clock_ms, *recorders)
    batches = BatchService(
        *(config, watched, store, tier, tests, rubric, pipeline.profile, clock_ms),
        on_call=metrics.calls.observe,
        on_counted=metrics.samples.observe,
    )
    metrics.set_build_info(marker, pipeline.profile, lambda: store.claims.held)
    store.open(pipeline.profile, pipeline.identity, clock_ms(), list(rubric.criteria))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        log.info("teacher: %s", marker.description)
        log.info("database: %s, profile %s", store.where, pipeline.profile)
        leases = asyncio.create_task(
            renew_leases(store, clock_ms, config.store.claim_lease_s), name="renewal of claims"
        )
        book = asyncio.create_task(run_maintenance(store, clock_ms), name="maintenance")
        work = asyncio.create_task(batches.run(), name="batches")
        for task in (leases, book, work):
            task.add_done_callback(_log_death)
        try:
            yield
        finally:  # an interrupted `markbook judge` ends here as well: its calls in progress are paid for
            leases.cancel()
            book.cancel()
            work.cancel()
            await batches.close(config.service.shutdown_grace_s)
            await pipeline.close(config.service.shutdown_grace_s)
            await pipeline.ledger.close()
            await tier.close()
            await asyncio.to_thread(tests.close)
            await marker.close()
            await store.close()

    app = _with_routes(lifespan, store, config.service, metrics)
    app.state.markbook = AppState(config, marker, store, pipeline, clock_ms, metrics, batches)
    return app
