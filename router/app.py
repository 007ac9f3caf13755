"""Composition root of a worker: settings → collaborators → FastAPI, and what runs beside the requests."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from router import telemetry
from router.api import (
    approvals,
    count_tokens,
    exports,
    health,
    jwks,
    models,
    owner_budgets,
    people,
    periods,
    reports,
    responses,
    rules,
    sessions,
)
from router.api.access_log import AccessLog
from router.api.asgi import error_headers
from router.api.tasks import TaskEndpoint, TaskPaths
from router.clock import utc_now
from router.errors import Refused, RouterError
from router.handshake import say_ready
from router.secret_key import read_secret
from router.services import Services
from router.settings import Settings, provider_environment
from router.siblings import Siblings
from router.stages.authenticate import key_behind
from router.stages.entitlement_token import TokenKeys
from router.stages.keep_responses import Keeper
from router.stages.open_session import ConversationChain
from router.storage.redis_announce import RedisAnnouncements
from router.storage.redis_approvals import RedisApprovals
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient, durability_faults
from router.storage.redis_masks import RedisMasks
from router.storage.redis_responses import RedisResponses
from router.storage.redis_running import RedisRunning
from router.storage.redis_sessions import RedisSessions
from router.storage.redis_undrained import undrained
from router.storage.registrar import Registrar
from router.storage.shadow import Shadow
from router.storage.snapshot import Snapshot
from router.storage.sql.approvals import SqlApprovals
from router.storage.sql.engine import open_engine
from router.storage.sql.enrolments import SqlEnrolments
from router.storage.sql.finance_store import SqlFinance
from router.storage.sql.months import SqlMonths
from router.storage.sql.owner_budgets import budget_rows
from router.storage.sql.people import SqlPeople
from router.storage.sql.raises import SqlRaises
from router.storage.sql.recorded import Recorded
from router.storage.sql.registrations import SqlRegistrations
from router.storage.sql.rules import RuleStore
from router.storage.sql.sessions import SqlSessions
from router.storage.sql.statements import SqlStatements
from router.streaming import Broadcast, Drains, Inferences, Pumps
from router.upstream.dispatch import ProviderDispatch
from router.upstream.prices import known_models, look_up
from routing_rules.task import Endpoint

REFRESH_SECONDS = 0.25
"""How often a worker looks whether keys or rules have changed: a revocation must reach it within a second."""

HEARTBEAT_SECONDS = 1.0
ADOPT_SECONDS = 1.0
REGISTER_SECONDS = 1.0
COLLECTOR = (20_000, 20, 100)
KEEP_ALIVE_SECONDS = 75
PATHS = {
    "/v1/chat/completions": Endpoint.CHAT,
    "/v1/responses": Endpoint.RESPONSES,
    "/v1/embeddings": Endpoint.EMBEDDINGS,
    "/v1/messages": Endpoint.MESSAGES,
}


class Worker:
    """Everything one worker holds open, and the loops that keep it fresh."""

    def __init__(self, settings: Settings) -> None:
        if settings.redis_url is None:
            raise RuntimeError("a worker needs ROUTER_REDIS_URL; `router serve` sets it")
        self.settings = settings
        self.id = os.environ.get("ROUTER_WORKER_ID") or f"worker-{os.urandom(4).hex()}"
        self.redis = RedisClient(
            settings.redis_url.get_secret_value(), cluster=settings.redis_cluster, time_limit=settings.redis_timeout
        )
        self.announcements = RedisAnnouncements(self.redis)
        secret = read_secret(settings)
        self.engine = open_engine(settings.sql_url)
        self.snapshot = Snapshot(self.engine, self.announcements, secret, settings.governance_mode)
        self.approvals = RedisApprovals(self.redis, secret)
        self.shadow = Shadow(RuleStore(self.engine), self.id, utc_now)
        self.registrar = Registrar(SqlRegistrations(self.engine), utc_now)
        running: dict[tuple[str, str], Broadcast] = {}
        runtime_dir = os.environ.get("ROUTER_RUNTIME_DIR")
        self.siblings = Siblings(Path(runtime_dir) if runtime_dir else None, self.id, running)
        self.upstream = ProviderDispatch(provider_environment(settings))
        sessions, masks = RedisSessions(self.redis), RedisMasks(self.redis, secret)
        budgets = self.inferences = Inferences(RedisBudgets(self.redis, outbox_cap=settings.outbox_cap))
        self.running = RedisRunning(self.redis)
        self.keeper = Keeper(
            RedisResponses(self.redis), self.upstream, sessions, budgets, masks, self.snapshot.rules_of, utc_now, self.id
        )
        self.services = Services(
            directory=self.snapshot,
            in_force=self.snapshot.in_force,
            sessions=sessions,
            masks=masks,
            budgets=budgets,
            upstream=self.upstream,
            chains=ConversationChain(secret),
            pumps=Pumps(),
            drains=Drains(settings.most_drains),
            running=running,
            siblings=self.siblings,
            known_models=known_models,
            clock=utc_now,
            secret=secret,
            tokens=TokenKeys(secret, settings.address),
            note_tools=self.registrar.note,
            note_changed=self.registrar.note_changed,
            changed_servers=self.registrar.changed_servers,
            worker=self.id,
            governance=self.snapshot.mode,
            note_shadow=self.shadow.note,
            approvals=self.approvals,
            address=settings.address,
            keeper=self.keeper,
            raised=self.snapshot.raised,
        )
        self.changing = rules.Changing(
            RuleStore(self.engine),
            Recorded(self.engine),
            SqlPeople(self.engine).all,
            self._rules_changed,
            utc_now,
            settings.governance_mode,
        )
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Load keys and rules, then keep them fresh. A store that is down now is tried again: the worker is not ready until then."""
        await self.announcements_beat()
        await self.snapshot.refresh()
        await asyncio.to_thread(known_models)
        with contextlib.suppress(RouterError):
            await self.upstream.warm_up(self.snapshot.rules().deployments.values())
        await self.siblings.start()
        self._loops = [
            asyncio.create_task(self._every(REFRESH_SECONDS, self.snapshot.refresh)),
            asyncio.create_task(self._every(HEARTBEAT_SECONDS, self.announcements_beat)),
            asyncio.create_task(self._every(ADOPT_SECONDS, self.adopt_responses)),
            asyncio.create_task(self._every(REFRESH_SECONDS, self.pay_what_is_owed)),
            asyncio.create_task(self._every(REFRESH_SECONDS, self.take_orders)),
            asyncio.create_task(self._every(REGISTER_SECONDS, self.register)),
            asyncio.create_task(self._every(REGISTER_SECONDS, self.shadow.write)),
        ]

    async def announcements_beat(self) -> None:
        """Say that this worker is alive: the reaper settles what a silent one held."""
        telemetry.IN_FLIGHT.set(len(self.services.pumps))
        with contextlib.suppress(RouterError):
            await self.announcements.heartbeat(self.id)

    async def adopt_responses(self) -> None:
        """Follow the responses in the background whose worker is gone."""
        with contextlib.suppress(RouterError):
            await self.keeper.adopt()

    async def pay_what_is_owed(self) -> int:
        """Settle again what could not be settled while Redis was down; how many are still owed."""
        with contextlib.suppress(RouterError):
            return await self.services.budgets.retry()
        return 1

    async def take_orders(self) -> None:
        """Tell how far the answers are that somebody looks at, and end those that somebody has ended."""
        with contextlib.suppress(RouterError):
            for order in await self.running.orders():
                if order.what == "end" and order.app is not None and order.session is not None:
                    sessions.end_inferences(
                        self.inferences, self.services.pumps, order.app, order.session, order.request, order.code
                    )
                elif order.what == "look":
                    now = utc_now().timestamp()
                    progress = []
                    for one in self.inferences:
                        if one.is_of(order.app, order.session):
                            progress.append(sessions.how_far(one, now))
                            await asyncio.sleep(0)  # requests go on meanwhile
                    if progress:
                        await self.running.tell(order.look, progress)

    async def stop(self) -> None:
        """Let what is under way end and be settled, then close everything."""
        left = await self.services.pumps.drain(self.settings.drain_seconds)
        await self.keeper.stop()
        if left:
            telemetry.logger().error("requests_cut_at_stop", count=left)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.drain_seconds):
                while await self.pay_what_is_owed():  # noqa: ASYNC110 - Redis tells nobody when it is back
                    await asyncio.sleep(REFRESH_SECONDS)
        for loop in self._loops:
            loop.cancel()
        await self.registrar.write()
        await self.shadow.write()
        await self.siblings.stop()
        await self.upstream.aclose()
        self.snapshot.close()
        await self.redis.aclose()
        self.engine.dispose()

    async def _every(self, seconds: float, work: object) -> None:
        while True:
            await asyncio.sleep(seconds)
            await work()  # type: ignore[operator]

    async def changed(self, ended: str | None) -> None:
        """Tell all workers that people have changed, or that the person with this id was ended; know it here at once."""
        await (self.announcements.revoke(ended) if ended is not None else self.announcements.announce())
        await self.snapshot.refresh()

    async def _rules_changed(self) -> None:
        await self.changed(None)

    async def register(self) -> None:
        """Write down the tools that nobody had registered, and know of the MCP servers that others found changed."""
        if await self.registrar.write():
            with contextlib.suppress(RouterError):
                await self.changed(None)
        self.registrar.looked_at(self.snapshot.changed_servers)

    def checks(self) -> dict[str, health.Check]:
        """What readiness asks, by name."""
        return {
            "redis": self._redis_fault,
            "sql": self.snapshot.sql_fault,
            "rules": self.snapshot.rules_fault,
            "classifiers": self.snapshot.classifiers_fault,
        }

    async def _redis_fault(self) -> str | None:
        try:
            expected, found = self.snapshot.epoch, (await self.announcements.look()).epoch
            if expected is not None and found != expected:
                return "this Redis is not the one whose balances are known (lost, restored or failed over): run `router restore`"
            if self.settings.redis_vouched:
                return None
            faults = await durability_faults(self.redis)
            return "; ".join(faults) or None
        except RouterError as error:
            return error.message


def create_app(settings: Settings) -> ASGIApp:
    """The ASGI application of one worker: the task endpoints, and FastAPI for everything else."""
    worker = Worker(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await worker.start()
        # What was built at start stays: the collector need not look through it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECTOR)
        say_ready()
        yield
        await worker.stop()

    app = FastAPI(title="Task-sensitivity router", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/v1/models")
    async def list_models(request: Request) -> JSONResponse:
        await _authenticated(worker, request)
        return JSONResponse(models.listed(worker.snapshot.rules()))

    responses.add_routes(app, worker.services)

    @app.get("/v1/models/{name:path}")
    async def show_model(request: Request, name: str) -> JSONResponse:
        await _authenticated(worker, request)
        return JSONResponse(models.one(worker.snapshot.rules(), name))

    @app.get(jwks.PATH)
    async def public_keys() -> JSONResponse:
        return JSONResponse(jwks.key_set(worker.services.tokens, utc_now()), headers=jwks.HEADERS)

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        return JSONResponse({"alive": True})

    gate = people.Gate(worker.snapshot, utc_now)

    @app.get("/readyz")
    async def readyz(request: Request) -> JSONResponse:
        status, body = await health.readiness(worker.checks(), worker.snapshot.notes())
        if gate.may(request.headers.get("authorization"), people.READING_RULES):
            body["reviews"] = health.reviews(worker.snapshot.rules(), utc_now().date())
        return JSONResponse(body, status_code=status)

    @app.get("/metrics")
    async def metrics() -> Response:
        text, kind = telemetry.exposition(os.environ.get("PROMETHEUS_MULTIPROC_DIR"))
        return Response(text, media_type=kind)

    api = people.guarded(gate)
    people.add_routes(api, SqlPeople(worker.engine), worker.changed, utc_now, worker.snapshot.mode)
    deciding = approvals.Deciding(
        worker.approvals, SqlApprovals(worker.engine), worker.snapshot, utc_now, worker.snapshot.mode, settings.webhook_key
    )
    approvals.add_routes(api, deciding)
    looking = sessions.Looking(
        RedisSessions(worker.redis),
        worker.running,
        SqlSessions(worker.engine),
        worker.approvals,
        SqlApprovals(worker.engine),
        utc_now,
    )
    sessions.add_routes(api, looking)
    rules.add_routes(api, worker.changing)
    reports.add_routes(api, SqlFinance(worker.engine), reports.Prices(worker.snapshot.rules, look_up), utc_now)
    exports.add_routes(api, SqlFinance(worker.engine), utc_now)
    closing = SqlMonths(worker.engine), SqlStatements(worker.engine)
    periods.add_routes(api, *closing, lambda before: undrained(worker.redis, before), utc_now, worker.snapshot.mode)
    owner_budgets.add_routes(
        api,
        lambda now, owner=None: budget_rows(worker.engine, worker.snapshot.rules(), worker.snapshot.raised, now, owner),
        SqlRaises(worker.engine),
        worker.snapshot.rules,
        worker.changed,
        utc_now,
        worker.snapshot.mode,
    )
    app.include_router(api)
    app.mount("/console", WhenAsked(lambda: _console(worker, looking, deciding)))

    @app.post(rules.ENROLMENT)
    async def enrolled(request: Request) -> Response:
        return await rules.enrolled(SqlEnrolments(worker.engine), SqlPeople(worker.engine), worker.changing, request)

    @app.post(approvals.WEBHOOK)
    async def decided_elsewhere(request: Request) -> JSONResponse:
        return await approvals.webhook(deciding, request)

    @app.exception_handler(RouterError)
    async def refused(_: Request, error: RouterError) -> JSONResponse:
        return _error(error)

    @app.exception_handler(RequestValidationError)
    async def misread(_: Request, error: RequestValidationError) -> JSONResponse:
        field = str(error.errors()[0]["loc"][-1])[:100]
        return _error(Refused("invalid_request", f"`{field}` is not what this path takes", param=field))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        path = request.url.path[:100]
        if error.status_code == 405:
            return _error(Refused("method_not_allowed", f"{request.method} is not served at `{path}`"))
        return _error(Refused("unknown_path", f"there is no `{path}` here: see the README for the paths that are served"))

    limit = settings.max_body_bytes
    endpoints = {path: TaskEndpoint(worker.services, endpoint, limit) for path, endpoint in PATHS.items()}
    endpoints[count_tokens.PATH] = count_tokens.CountTokens(worker.services, Endpoint.MESSAGES, limit)
    served = TaskPaths(endpoints, app)
    return AccessLog(served) if settings.access_log else served


class WhenAsked:
    """An application that is made when the first request for it comes."""

    def __init__(self, make: Callable[[], ASGIApp]) -> None:
        self._make = make
        self._made: asyncio.Future[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Importing takes a moment, in which others go on."""
        if self._made is None:
            self._made = asyncio.ensure_future(asyncio.to_thread(self._make))
        await (await asyncio.shield(self._made))(scope, receive, send)


def _console(worker: Worker, looking: sessions.Looking, deciding: approvals.Deciding) -> ASGIApp:
    root = import_module("router.console_root")  # the one place where the console is imported
    secret = worker.services.secret
    parts = root.Parts(worker.settings, secret, worker.redis, worker.engine, worker.snapshot, looking, deciding, worker.changed)
    console: ASGIApp = root.build(parts)
    return console


async def _authenticated(worker: Worker, request: Request) -> None:
    authorization = request.headers.get("authorization")
    try:
        key_behind(worker.snapshot, authorization, utc_now())
    except Refused as refusal:
        if refusal.code != "invalid_api_key":
            raise
        await worker.snapshot.refresh()  # the key may have been made a moment ago
        key_behind(worker.snapshot, authorization, utc_now())


def _error(error: RouterError) -> JSONResponse:
    headers = {name.decode(): value.decode() for name, value in error_headers(error)}
    return JSONResponse(error.body(), status_code=error.row.status, headers=headers)


def run_worker(settings: Settings) -> None:
    """Serve until SIGTERM. Every worker binds the port for itself, so that a dead one takes no connection with it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((settings.host, settings.port))
    config = uvicorn.Config(
        create_app(settings),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.drain_seconds) or None,
        backlog=2048,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies) or None,
    )
    uvicorn.Server(config).run(sockets=[listener])
