"""Logs and metrics: JSON lines with a request id, and what Prometheus reads at /metrics.

Every metric of the engine is declared here, so that dashboards and alerts have one page to agree with. Under `up`
several processes share one folder of counters (`PROMETHEUS_MULTIPROC_DIR`), so any of them can answer for all.
"""

import logging
import os
import re
import sys
from datetime import UTC, datetime
from string import ascii_letters, digits
from typing import Any
from uuid import UUID

import msgspec
import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
    values,
)
from prometheus_client.registry import REGISTRY

# The library asks the system for the process's id at each count, a dozen times per claim; ours start afresh and never
# fork. Must stand before the first metric.
if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
    _pid = os.getpid()
    values.ValueClass = values.MultiProcessValue(lambda: _pid)  # type: ignore[no-untyped-call]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SHORT = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_COUNTS = (1, 2, 3, 4, 5, 6, 8, 10, 20, 50, 100)

# HTTP (R152 to R155)
HTTP_SECONDS = Histogram(
    "holdfast_http_request_seconds",
    "Time to answer, by route and status class; its count is the request rate and the error rate.",
    ["method", "route", "status"],
    buckets=_SECONDS,
)
HTTP_ACTIVE = Gauge(
    "holdfast_http_active_requests", "Requests being answered now.", multiprocess_mode="livesum"
)
LIVE_VIEWERS = Gauge("holdfast_live_viewers", "Open live streams.", multiprocess_mode="livesum")

# PostgreSQL (R156 to R159)
DB_QUERY_SECONDS = Histogram(
    "holdfast_db_query_seconds", "Time of each named query.", ["query"], buckets=_SHORT
)
DB_ROLLBACKS = Counter("holdfast_db_rollbacks_total", "Transactions rolled back, by cause.", ["cause"])
DB_TRANSACTIONS = Counter("holdfast_db_transactions_total", "Transactions committed.")
DB_POOL_SIZE = Gauge("holdfast_db_pool_connections", "Open connections.", multiprocess_mode="livesum")
DB_POOL_USED = Gauge("holdfast_db_pool_used", "Connections in use.", multiprocess_mode="livesum")
DB_POOL_MAX = Gauge("holdfast_db_pool_max", "Connections allowed.", multiprocess_mode="livesum")
DB_POOL_WAIT_SECONDS = Histogram("holdfast_db_pool_wait_seconds", "Wait for a connection.", buckets=_SHORT)
DB_LOCK_WAITERS = Gauge(
    "holdfast_db_lock_waiters", "Sessions that wait for a lock.", multiprocess_mode="mostrecent"
)
DB_LOCK_WAIT_MAX_SECONDS = Gauge(
    "holdfast_db_lock_wait_max_seconds",
    "The longest present wait for a lock.",
    multiprocess_mode="mostrecent",
)
CLAIM_LOCK_WAIT_SECONDS = Histogram(
    "holdfast_claim_lock_wait_seconds", "Wait of a batch of claims for its show.", buckets=_SHORT
)

# Jobs and facts (R160)
JOBS_WAITING = Gauge(
    "holdfast_jobs_waiting", "Jobs due or to come, by kind.", ["kind"], multiprocess_mode="mostrecent"
)
JOBS_AGE_SECONDS = Gauge(
    "holdfast_jobs_oldest_due_seconds", "Age of the oldest job that is due.", multiprocess_mode="mostrecent"
)
JOBS_DEAD = Gauge("holdfast_jobs_dead", "Dead letters.", multiprocess_mode="mostrecent")
JOB_SECONDS = Histogram("holdfast_job_seconds", "Time of one job.", ["kind"], buckets=_SECONDS)
JOB_OUTCOMES = Counter(
    "holdfast_job_outcomes_total", "Jobs by outcome: done, retry, dead.", ["kind", "outcome"]
)
OUTBOX_WAITING = Gauge("holdfast_outbox_waiting", "Facts not yet handed on.", multiprocess_mode="mostrecent")

# The broker
BROKER_PUBLISHED = Counter("holdfast_broker_published_total", "Facts that the broker has confirmed.")
BROKER_FAILURES = Counter(
    "holdfast_broker_failures_total", "Batches that the broker did not confirm whole, by error.", ["error"]
)
BROKER_UNROUTED = Counter("holdfast_broker_unrouted_total", "Facts that no queue of the broker wanted.")
BROKER_WAITING = Gauge(
    "holdfast_broker_waiting", "Facts that wait for the broker.", multiprocess_mode="mostrecent"
)
BROKER_OLDEST_SECONDS = Gauge(
    "holdfast_broker_oldest_seconds", "How long the oldest of them has.", multiprocess_mode="mostrecent"
)

# Selling (R161 to R163)
CLAIMS = Counter(
    "holdfast_claims_total", "Claims by outcome: pending, confirmed, replayed, or the refusal.", ["outcome"]
)
BOOKINGS_ENDED = Counter(
    "holdfast_bookings_ended_total",
    "Bookings by how they went on: confirmed, expired, released, ...",
    ["reason"],
)
CLAIM_PLACES = Histogram("holdfast_claim_places", "Places of an accepted claim.", buckets=_COUNTS)
CLAIM_BATCH = Histogram(
    "holdfast_claim_batch_claims", "Claims in one call.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
CLAIM_QUEUE = Gauge("holdfast_claim_queue", "Claims waiting in this process.", multiprocess_mode="livesum")
QUEUED_CLAIMS = Gauge(
    "holdfast_queued_claims", "Claims that wait in the queues of shows.", multiprocess_mode="mostrecent"
)
QUEUED_CLAIMS_AGE_SECONDS = Gauge(
    "holdfast_queued_claims_oldest_seconds",
    "How long the oldest claim in a queue has waited.",
    multiprocess_mode="mostrecent",
)
LATE_PAYMENTS = Counter(
    "holdfast_late_payments_total",
    "Money that came after its hold had ended: retaken, moved to equal places, or why it went back.",
    ["outcome"],
)
PAYMENTS = Counter(
    "holdfast_payments_total",
    "Attempts to pay by how they went on: open, succeeded, declined, closed, mismatched, disputed.",
    ["provider", "state"],
)
REFUNDS = Counter("holdfast_refunds_total", "Refunds by the state that they came to.", ["provider", "state"])
REFUNDS_OPEN = Gauge(
    "holdfast_refunds_open",
    "Refunds that are WANTED, SENT, or FAILED and not tried again.",
    ["state"],
    multiprocess_mode="mostrecent",
)
REFUNDS_AGE_SECONDS = Gauge(
    "holdfast_refunds_oldest_seconds",
    "How long nothing has been heard of one of them.",
    ["state"],
    multiprocess_mode="mostrecent",
)
VIEW_READS = Counter(
    "holdfast_view_reads_total", "Availability reads: from memory or after a load.", ["source"]
)

# Paying
PROVIDER_SECONDS = Histogram(
    "holdfast_provider_seconds",
    "Time of a call of a payment provider, by how it ended: answered, refused, down, or left_alone.",
    ["provider", "call", "outcome"],
    buckets=_SECONDS,
)
PROVIDER_LEFT_ALONE = Gauge(
    "holdfast_provider_left_alone",
    "1 while calls of a payment provider are refused because too many failed.",
    ["provider"],
    multiprocess_mode="livemax",
)

Logger = structlog.typing.FilteringBoundLogger


def metrics_text() -> bytes:
    """The present metrics in Prometheus' text format, of all processes that share the folder."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
    return generate_latest(REGISTRY)


def process_ended(pid: int, folder: str) -> None:
    """Takes the gauges of a process that has died out of the sum of those who share the folder."""
    multiprocess.mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]


def log(name: str) -> Logger:
    """A logger whose every line carries `part=name`."""
    logger: Logger = structlog.get_logger(part=name)
    return logger


def configure_logs(level: str, style: str) -> None:
    """Sends structlog and the standard library's logging to stderr, as JSON lines or for a person's eye."""
    number = getattr(logging, level.upper())
    if style == "json":
        processors: list[Any] = [_line]
        factory: Any = structlog.BytesLoggerFactory(sys.stderr.buffer)
    else:
        # Not the default of structlog with rich: that prints every local variable, customers and secrets among them,
        # and takes seconds over the arrays of a batch.
        processors = [
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _ids_as_text,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
            _masked_text,
        ]
        factory = structlog.PrintLoggerFactory(sys.stderr)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[_ToStructlog()], force=True)


_encode = msgspec.json.Encoder(enc_hook=repr).encode
# The last net: nothing here logs an address or a secret on purpose, but the text of somebody else's error may have one.
# What a mailbox is made of, and what must stand behind the @ of an address.
_LOCAL = (ascii_letters + digits + "_.%+~-").encode() + bytes(range(0x80, 0x100))
_DOMAIN = re.compile(rb"[\w\x80-\xff-]+\.[\w\x80-\xff-]")
_CONTINUED = bytes(range(0x80, 0xC0))
_BEARER = re.compile(rb"(?i)(bearer[ :=]+)[\w.~+/=-]{8,}")


def _line(_: Any, level: str, event: structlog.typing.EventDict) -> bytes:
    """An event as one line of JSON. In one step, because each claim writes one: a chain of processors takes twice as long."""
    line: structlog.typing.EventDict = {
        **event,
        **structlog.contextvars.get_contextvars(),
        "level": level,
        "timestamp": datetime.now(UTC),
    }
    if "exc_info" in line:
        line = structlog.processors.format_exc_info(None, level, line)
    return masked(_encode(line))


def masked(line: bytes) -> bytes:
    """The line with all but the first letter of each e-mail address, and every bearer token, made unreadable."""
    at = line.find(b"@")
    while at >= 0:
        # Backwards from the @: each claim logs a masked address, and a pattern would try every letter before it.
        start = len(line[:at].rstrip(_LOCAL))
        if start < at and _DOMAIN.match(line, at + 1):
            rest = line[start + 1 : at].lstrip(_CONTINUED)
            kept = line[: at - len(rest)] + b"***"
            line, at = kept + line[at:], len(kept)
        at = line.find(b"@", at + 1)
    if b"earer" in line:
        line = _BEARER.sub(rb"\1***", line)
    return line


def _masked_text(_: Any, _level: str, line: str) -> str:
    return masked(line.encode("utf-8", "replace")).decode()


def _ids_as_text(_: Any, _level: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {name: str(value) if isinstance(value, UUID) else value for name, value in event.items()}


class _ToStructlog(logging.Handler):
    """What libraries say through the standard library, as lines of the same kind."""

    def emit(self, record: logging.LogRecord) -> None:
        line = structlog.get_logger(part=record.name)
        if record.levelno < logging.ERROR and record.exc_info:
            # A warning is no fault of ours (a database that is away): what happened, without where.
            line.log(record.levelno, record.getMessage(), error=repr(record.exc_info[1]))
        else:
            line.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)
