"""Metrics and logs, for every layer above the pure half.

Metrics are declared here, so that their names and meanings stand in one place; `docs/reference/metrics.md` is made from
it.
"""

import logging
import sys
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

NODE_REGISTRY = CollectorRegistry(auto_describe=True)
"""What the trading process counts."""
API_REGISTRY = CollectorRegistry(auto_describe=True)
"""What the API process counts."""

_FAST = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

EVENTS = Counter("aether_events", "Events applied to accounts.", ["account_id", "kind"], registry=NODE_REGISTRY)
ORDERS = Counter("aether_orders", "Order states entered.", ["account_id", "state"], registry=NODE_REGISTRY)
SHED = Counter(
    "aether_market_events_shed", "Market events left out by a full queue.", ["account_id"], registry=NODE_REGISTRY
)
MARKET_SHED = Counter(
    "aether_market_log_shed", "Market events left out because too much waited to be written.", registry=NODE_REGISTRY
)
TICK_TO_DECISION = Histogram(
    "aether_tick_to_decision_seconds",
    "From an event entering an account's queue to what the engine decided on it; events that decide nothing are left "
    "out.",
    buckets=_FAST,
    registry=NODE_REGISTRY,
)
DECISION_TO_DURABLE = Histogram(
    "aether_decision_to_durable_seconds",
    "From the engine's answer to the journal's durable commit.",
    buckets=_FAST,
    registry=NODE_REGISTRY,
)
COMMIT_SECONDS = Histogram("aether_commit_seconds", "One group commit.", buckets=_FAST, registry=NODE_REGISTRY)
COMMIT_ROWS = Counter("aether_journal_rows", "Journal rows made durable.", registry=NODE_REGISTRY)
PAUSED = Gauge("aether_trading_paused", "1 while the database is away and nothing trades.", registry=NODE_REGISTRY)
JOURNAL_LAG = Gauge(
    "aether_journal_lag_events", "Events applied but not durable yet.", ["account_id"], registry=NODE_REGISTRY
)
QUEUE = Gauge("aether_queue_events", "Events waiting for an account.", ["account_id"], registry=NODE_REGISTRY)
NAV = Gauge("aether_nav", "Net asset value in the account's currency.", ["account_id"], registry=NODE_REGISTRY)
KILL_SWITCH_STATE = Gauge(
    "kill_switch_state", "1 while the kill switch is engaged.", ["account_id"], registry=NODE_REGISTRY
)
BREAKS = Gauge(
    "aether_breaks", "Differences between an account's books and its venues'.", ["account_id"], registry=NODE_REGISTRY
)
SECRET_VERSION = Gauge(
    "aether_secret_version",
    "Version of the key that an account trades with.",
    ["account_id", "venue"],
    registry=NODE_REGISTRY,
)
SECRETS_DUE = Gauge("aether_secrets_due", "Keys that should have been replaced by now.", registry=API_REGISTRY)
INSECURE = Gauge("aether_insecure_settings", "1 while a check of production fails.", ["check"], registry=API_REGISTRY)
NODE_UP = Gauge("aether_node_up", "1 while the trading process answers.", registry=API_REGISTRY)
TURNED_AWAY = Counter(
    "aether_requests_turned_away",
    "Requests and connections that a limit turned away: of a caller, an address, pages, connections, web sockets.",
    ["limit"],
    registry=API_REGISTRY,
)
SIGN_INS = Counter("aether_sign_ins", "Sign-ins by outcome.", ["outcome"], registry=API_REGISTRY)
VENUE_TROUBLE = Gauge(
    "aether_venue_trouble",
    "1 while something keeps an account from entering at a venue: a pair, its data, a channel, a circuit breaker.",
    ["account_id", "venue"],
    registry=NODE_REGISTRY,
)
VENUE_OVERDUE = Gauge(
    "aether_venue_overdue_seconds",
    "For how long the venue has not done what is wanted of an order: 0 while all is as it should be.",
    ["account_id", "venue"],
    registry=NODE_REGISTRY,
)
UNREAD_ROWS = Counter(
    "aether_unread_rows_total",
    "Rows of venues' answers that were not understood; the others were used.",
    ["venue", "what"],
    registry=NODE_REGISTRY,
)
FOREIGN_ORDERS = Gauge(
    "aether_foreign_orders",
    "Open orders at the venue that the account did not place.",
    ["account_id", "venue"],
    registry=NODE_REGISTRY,
)
KILL_SWITCH_RESPONSE = Histogram(
    "kill_switch_response_seconds",
    "From the node taking a kill switch request to the last open order's end.",
    ["status"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 45, 60, 120),
    registry=NODE_REGISTRY,
)


def metrics_text(registry: CollectorRegistry) -> bytes:
    """Return a process's metrics in the Prometheus text format."""
    return generate_latest(registry)


def configure_logging(level: str, *, as_json: bool, process: str = "") -> None:
    """Send structured logs to standard error.

    Args:
        process: which of the platform's processes it is.
        level: "debug", "info", "warning" or "error"; lower messages are dropped.
        as_json: one JSON object a line instead of text for people.
    """
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )

    def named(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {**event, "process": process} if process else event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            named,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return the log of a part of the house."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(part=name)
    return log


class Trouble:
    """A warning that is told once, and again when its reason changes or it comes back.

    Args:
        log: that it goes to.
        event: what happens, as the log names it.
    """

    def __init__(self, log: structlog.typing.FilteringBoundLogger, event: str) -> None:
        self._log = log
        self._event = event
        self._kind = ""

    def tell(self, error: BaseException) -> None:
        """Tell of an error, unless one of its kind was told last."""
        kind = type(error).__name__
        if kind != self._kind:
            self._kind = kind
            self._log.warning(self._event, reason=f"{kind}: {error}")

    def over(self) -> None:
        """Note that it went well."""
        self._kind = ""
