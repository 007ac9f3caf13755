"""Structured logs and metrics. Neither ever carries prompt text, keys or argument values."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess, values
from prometheus_client.exposition import CONTENT_TYPE_LATEST

if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
    # The library asks the system for the process's id at each of the eight counts of a request, in case it was forked since: ours never are.
    _PROCESS = os.getpid()
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: _PROCESS)  # type: ignore[no-untyped-call]

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

REQUESTS = Counter("router_requests_total", "Requests by how they ended.", ("endpoint", "app", "tier", "code"))
TOKENS = Counter("router_tokens_total", "Tokens by class.", ("deployment", "token_class"))
COST = Counter("router_cost_usd_total", "Settled cost in US dollars.", ("deployment",))
DURATION = Histogram("router_request_duration_seconds", "Whole time of a request.", ("endpoint",), buckets=LATENCY_BUCKETS)
OVERHEAD = Histogram("router_overhead_seconds", "Time of a request outside the provider.", ("endpoint",), buckets=LATENCY_BUCKETS)
TOOLS = Counter("router_tools_total", "Tools asked for, by what became of them.", ("outcome",))
UPSTREAM_FAILURES = Counter("router_upstream_failures_total", "Failed attempts at providers.", ("deployment", "code"))
RULES_AGE = Gauge("router_rules_loaded_timestamp_seconds", "When the rule set in force was loaded.", multiprocess_mode="max")
IN_FLIGHT = Gauge("router_requests_in_flight", "Requests under way.", multiprocess_mode="livesum")


def exposition(multiprocess_dir: str | None) -> tuple[bytes, str]:
    """Prometheus text of all workers (of this process where there is one worker) and its content type."""
    if multiprocess_dir is None:
        return generate_latest(), CONTENT_TYPE_LATEST
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=multiprocess_dir)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST


def forget_process(pid: int, multiprocess_dir: str) -> None:
    """Take what a dead process had under way out of the sums; what it counted stays counted."""
    multiprocess.mark_process_dead(pid, multiprocess_dir)  # type: ignore[no-untyped-call]


def configure_logging(level: str, form: str) -> None:
    """Log lines of ours and of the libraries go to standard error, one per event, with UTC times."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if form == "console"
        else structlog.processors.JSONRenderer(serializer=_dumps)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries log through the standard library; what they say at warning and above is worth a line, without arguments
    # that could carry content: uvicorn and aiohttp log addresses and exceptions only.
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format='{"level":"%(levelname)s","logger":"%(name)s","event":"%(message)s"}'
    )


def _dumps(value: object, **_: object) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def logger() -> Any:
    """The structured logger."""
    return structlog.get_logger()
